"""Fuzz each reader of ``tests/hostile`` with damaged files, guided by coverage, and print the findings.

python -m tests.fuzz                  all readers, 60 seconds each
python -m tests.fuzz 10 mask model    only the readers mask and model, 10 seconds each

A finding is any exception except UserError, or a file that takes more than 20 seconds or 4 GB. The file and the
traceback of each finding are written to build/fuzz.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import traceback
import warnings
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

OURS = ["secseg", "zipfile", "tarfile", "gzip", "json", "csv", "pickle", "yaml", "safetensors", "PIL"]
with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=OURS):  # prints all modules
    from PIL import PngImagePlugin

    from tests.hostile.readers import READERS, Reader, accepts

OUT = Path("build/fuzz")
MOST_SECONDS, MOST_MEGABYTES, MOST_BYTES = 20, 4096, 2**16


def main(seconds: int, names: list[str]) -> int:
    """Fuzz each reader in a separate process. Return 1 if there is a finding, else 0."""
    if unknown := set(names) - {reader.name for reader in READERS}:
        raise SystemExit(f"No reader is called {', '.join(unknown)}; there are {', '.join(r.name for r in READERS)}.")
    print(f"{'reader':<22}{'files':>10}{'places':>8}  findings", flush=True)
    failed = False
    for reader in READERS:
        if names and reader.name not in names:
            continue
        folder = OUT / reader.name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if (child := os.fork()) == 0:
            fuzz(reader, seconds, folder)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log = (folder / "log.txt").read_text("utf-8", "replace")
        tried = re.findall(r"stat::number_of_executed_units: +(\d+)", log) or re.findall(r"^#(\d+)", log, re.MULTILINE)
        places = re.findall(r"cov: (\d+)", log)
        findings = [path.read_text().partition("\n")[0] for path in sorted(folder.glob("*.error"))]
        findings += [next(iter(re.findall(r"ERROR: (.*)", log)), f"exit code {code}")] if code else []
        failed |= bool(findings)
        print(f"{reader.name:<22}{[0, *tried][-1]:>10}{[0, *places][-1]:>8}  {'; '.join(findings) or '-'}", flush=True)
    return int(failed)


def fuzz(reader: Reader, seconds: int, folder: Path) -> None:
    """Fuzz a reader for ``seconds``. Keep each kind of error once, with the file that caused it."""
    for stream in (1, 2):
        os.dup2(os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    # Checksums would reject nearly every changed file before it reaches the code under test.
    PngImagePlugin.ChunkStream.crc = PngImagePlugin.ChunkStream.crc_skip  # type: ignore[method-assign]
    zipfile.ZipExtFile._update_crc = lambda self, data: None  # type: ignore[attr-defined]
    warnings.simplefilter("ignore")
    kept: set[str] = set()
    with TemporaryDirectory() as work, TemporaryDirectory() as corpus:
        (Path(corpus) / "valid").write_bytes(reader.valid(Path(work)))

        def one(content: bytes) -> None:
            try:
                accepts(reader, Path(work), content)
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                kind = f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno}"
                if kind not in kept:
                    kept.add(kind)
                    (folder / f"{len(kept)}").write_bytes(content)
                    text = "".join(traceback.format_exception(error))
                    (folder / f"{len(kept)}.error").write_text(f"{kind}\n{text}", errors="backslashreplace")

        options = [
            f"-max_total_time={seconds}",
            f"-timeout={MOST_SECONDS}",
            f"-rss_limit_mb={MOST_MEGABYTES}",
            f"-max_len={MOST_BYTES}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    os.environ["SECSEG_CACHE"] = str(OUT.absolute() / "cache")
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 60, sys.argv[2:]))
