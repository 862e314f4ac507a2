"""Feed each reader of ``tests/hostile`` damaged files for a while, led by coverage, and print what came of it.

python -m tests.fuzz                  all readers, 60 seconds each
python -m tests.fuzz 10 mask model    these, 10 seconds each

A finding is any exception but UserError, and more than 20 seconds or 4 GB for one file. The files lie in build/fuzz.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
import warnings
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

OUT = Path("build/fuzz")
MOST_SECONDS, MOST_MEGABYTES, MOST_BYTES = 20, 4096, 2**16


def main(seconds: int, names: list[str]) -> int:
    """Fuzz each reader in a process of its own; return 1 where there is a finding."""
    from tests.hostile.readers import READERS

    unknown = set(names) - {reader.name for reader in READERS}
    if unknown:
        raise SystemExit(f"There is no reader {', '.join(unknown)}. There are {', '.join(r.name for r in READERS)}.")
    print(f"{'reader':<22}{'files':>10}{'places':>8}  findings", flush=True)
    failed = False
    for name in names or [reader.name for reader in READERS]:
        folder = OUT / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        command = [sys.executable, "-m", "tests.fuzz", "one", str(seconds), name]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        log = ended.stderr.decode("utf-8", "replace")
        tried = re.findall(r"stat::number_of_executed_units: +(\d+)", log) or re.findall(r"^#(\d+)", log, re.MULTILINE)
        places = re.findall(r"cov: (\d+)", log)
        told = [json.loads(path.read_text())["error"] for path in sorted(folder.glob("*.json"))]
        if ended.returncode:
            told.append(next(iter(re.findall(r"ERROR: (.*)", log)), f"exit code {ended.returncode}"))
            (folder / "log.txt").write_text(log[-20_000:])
        failed |= bool(told)
        print(f"{name:<22}{(tried or ['0'])[-1]:>10}{(places or ['0'])[-1]:>8}  {'; '.join(told) or '-'}", flush=True)
    return int(failed)


def fuzz(seconds: int, name: str) -> None:
    """Fuzz one reader until the time is up; each kind of error is kept once, with the file that led to it."""
    import atheris

    ours = ["secseg", "zipfile", "tarfile", "gzip", "json", "csv", "pickle", "yaml", "safetensors", "scipy.io", "PIL"]
    with atheris.instrument_imports(include=ours):
        from tests.hostile.readers import READERS, accepts
    from PIL import PngImagePlugin

    # Checksums would stop nearly every changed file before the code that is to be tried.
    PngImagePlugin.ChunkStream.crc = PngImagePlugin.ChunkStream.crc_skip  # type: ignore[method-assign]
    zipfile.ZipExtFile._update_crc = lambda self, data: None  # type: ignore[attr-defined]
    warnings.simplefilter("ignore")
    reader = next(reader for reader in READERS if reader.name == name)
    folder = OUT / name.replace(" ", "_")
    kept: set[str] = set()
    with TemporaryDirectory() as work, TemporaryDirectory() as corpus:
        (Path(corpus) / "valid").write_bytes(reader.valid(Path(work)))

        def one(content: bytes) -> None:
            try:
                accepts(reader, Path(work), content)
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                told = f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno}"
                if told not in kept:
                    kept.add(told)
                    path = folder / f"{len(kept)}"
                    path.write_bytes(content)
                    text = "".join(traceback.format_exception(error))
                    path.with_suffix(".json").write_text(json.dumps({"error": told, "traceback": text}))

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
    os.environ.setdefault("SECSEG_CACHE", str(OUT.absolute() / "cache"))
    match sys.argv[1:]:
        case ["one", seconds, name]:
            fuzz(int(seconds), name)
        case [seconds, *names]:
            sys.exit(main(int(seconds), names))
        case []:
            sys.exit(main(60, []))
