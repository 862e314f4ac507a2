"""The rows of the table, and its text."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from secseg.runs.run_writer import versions
from secseg.utils.text import size_text

COLUMNS = ("part", "what", "figure", "expected", "ok")
LONGEST = 200
"""Characters of an error that the table shows."""

NOTES = """\
- losses, network: the norm of the difference from the CPU in float64, relative to the norm of the latter.
- CRF labels: pixels whose best label is that of the same backend on the CPU in float64, or of pydensecrf. The lattice
  computes in float32.
- step: forward, CRF, loss, backward, optimiser. All steps are computed from one, without loading and validations.
- evaluation: the weights are random, so the mean IoU is low. Reading and scoring of the images are included.
- precision: differences from float32, relative to it. two processes: from one process with twice the batch.
- The limits in the column "expected" were chosen without a GPU."""


class NotMeasured(Exception):
    """Raised by a part that does not apply to this machine; the text is the reason."""


@dataclass(frozen=True)
class Row:
    """A figure of a part.

    Attributes:
        what: what was measured.
        figure: the value with its unit.
        expected: the condition that the figure should meet; empty for plain measurements.
        ok: whether the condition is met; None without a condition.
    """

    what: str
    figure: str
    expected: str = ""
    ok: bool | None = None


def at_most(what: str, values: float | Mapping[str, float], limit: float) -> Row:
    """Return a row of a relative difference, or of several by name, of which none should exceed ``limit``."""
    named = values if isinstance(values, Mapping) else {"": values}
    figure = ", ".join(f"{name} {value:.1e}".strip() for name, value in named.items())
    return Row(what, figure, f"at most {limit:.0e}", all(value <= limit for value in named.values()))


def failed(error: BaseException) -> Row:
    """Return the row of a part that raised ``error``."""
    text = " ".join(str(error).split())
    text = f"{text[:LONGEST]} ..." if len(text) > LONGEST else text
    return Row("error", f"{type(error).__name__}: {text}", "no error", False)


def render(head: Mapping[str, str], rows: Sequence[tuple[str, Row]]) -> str:
    """Return the Markdown text: what was measured, the table, and notes on its figures."""
    marks = {True: "yes", False: "**no**", None: ""}
    cells = [(part, row.what, row.figure, row.expected, marks[row.ok]) for part, row in rows]
    title = "# Measured with `make gpu`"
    return "\n\n".join([title, _table(("", ""), list(head.items())), _table(COLUMNS, cells), NOTES]) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    clean = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[at]) for row in [columns, *clean])) for at in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, clean)])


def describe(device: torch.device) -> dict[str, str]:
    """Return what the figures depend on: the device and the software."""
    found = versions()
    packages, git = found["packages"], found["git"]
    commit = "" if git is None else f", commit {git['commit'][:12]}{' with changes' if git['dirty'] else ''}"
    cpu = found["cpu"]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **(dict(_describe_gpu(device)) if device.type == "cuda" else {"device": device.type}),
        "CPU": f"{cpu['name']}, {cpu['count']} cores, {cpu['threads']} threads of torch",
        "secseg": f"{packages['secseg']}{commit}",
        "torch": f"{torch.__version__}, pytorch-lightning {packages.get('pytorch-lightning')}",
        "Python": f"{found['python']}, {platform.system()}",
        "pydensecrf": packages.get("pydensecrf2", packages.get("pydensecrf", "not installed")),
    }


def _describe_gpu(device: torch.device) -> Iterator[tuple[str, str]]:
    properties = torch.cuda.get_device_properties(device)
    capability = f"compute capability {properties.major}.{properties.minor}"
    yield "device", f"{properties.name}, {size_text(properties.total_memory)}, {capability}"
    runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    yield "driver", f"{_driver()}, {runtime}, cuDNN {torch.backends.cudnn.version()}"
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    on = {True: "TF32", False: "float32"}
    yield "float32 means", f"{on[convolutions]} in convolutions, {on[products]} in matrix products (torch's settings)"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return answer.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return "version not known"
