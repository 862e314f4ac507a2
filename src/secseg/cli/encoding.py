"""Encodings of a command: file names are UTF-8 in every locale, and no text that is printed can end a run."""

from __future__ import annotations

import io
import os
import sys


def use_utf8() -> None:
    """Start this command again in Python's UTF-8 mode if the locale has another encoding, such as ISO-8859-1.

    Otherwise file names and the command line would be decoded with that encoding, and a name in UTF-8 on the disk
    would not be equal to the same name in a table or in ``config.yaml``. The terminal keeps its encoding. A user who
    sets ``PYTHONUTF8`` decides. Windows does not need this: file names are Unicode there.
    """
    if os.name != "posix" or "PYTHONUTF8" in os.environ or sys.getfilesystemencoding().lower() == "utf-8":
        return
    terminal = getattr(sys.stdout, "encoding", None) or "utf-8"
    os.environ.setdefault("PYTHONIOENCODING", f"{terminal}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def print_anything() -> None:
    """Print characters that the encoding of the output lacks as ``\\xe4``. By default they raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
