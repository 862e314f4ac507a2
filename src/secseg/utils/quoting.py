"""Settings and commands that can be pasted into a POSIX shell: quoted for Hydra, then for the shell."""

from __future__ import annotations

import re
import shlex

# What Hydra reads as it stands: it starts like a name or a path, so it is no number.
_PLAIN = re.compile(r"[a-zA-Z_/.]*[a-zA-Z_/][\w/.%@*?|+-]*", re.ASCII)
_WORDS = frozenset({"null", "true", "false", "inf", "nan", ".inf", ".nan", "???"})


def quote_value(text: str) -> str:
    """Return a text as a value of a Hydra override that is read as exactly this text, whatever is in it."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # OmegaConf would replace ${...}: a backslash before it, and before each backslash that precedes it, prevents this.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    # Hydra: only backslashes before a quote, or before the end, need others.
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    text = re.sub(r"(\\+)\Z", r"\1\1", text)
    return f'"{text}"'


def override(key: str, value: object) -> str:
    """Return ``key=value`` as a Hydra override, for a text or a path."""
    return f"{key}={quote_value(str(value))}"


def shell_override(key: str, value: object) -> str:
    """Return ``key=value`` as a word for the command line, for a text or a path: ``'data.root="my images"'``."""
    return shlex.quote(override(key, value))


def shell_command(*words: object) -> str:
    """Return a command for the shell. Settings among the words are Hydra overrides, as from ``override``."""
    return shlex.join(map(str, words))
