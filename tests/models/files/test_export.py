"""An exported folder describes its network, has only figures measured on its weights, and is written as a whole."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import secseg
from secseg.cli.export import main
from secseg.models.files.export import export_checkpoint
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY
from tests.documents import PAGES, commands
from tests.stored_run import RESULTS, STEPS, write_run

COMMANDS = [command.removeprefix("python ") for command in commands(*PAGES.values()) if "src/export.py" in command]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder)
    return folder


def words_of(folder: Path) -> str:
    return " ".join((folder / "README.md").read_text("utf-8").split())


def test_the_card_describes_the_network_and_its_training(run: Path, tmp_path: Path) -> None:
    export_checkpoint(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "README.md"}
    card = words_of(tmp_path / "out")
    for words in (
        "| trunk | architecture test_efficientnet",
        "| input | (B, 3, 65, 65), RGB, 0 to 255",
        "inside the network: RGB",
        "| classes | background, cat, dog |",
        "| data | shapes |",
        "| images | 6 |",
        "| cues | source simulated for the drawn shapes, file cues.safetensors |",
        "none: image-level labels and cues alone",
        "| loss weights | seed 1.0, expand 1.0, constrain 1.0 |",
        f"| steps | {STEPS} |",
        "MIT licence",
        f"| secseg | {secseg.__version__} |",
    ):
        assert words in card
    assert "someone" not in card, "a folder of the machine"


def test_figures_are_copied_with_their_protocol(run: Path, tmp_path: Path) -> None:
    results = export_checkpoint(run, tmp_path / "out")
    assert (results["figures"], results["protocol"]) == (RESULTS["figures"], RESULTS["protocol"])
    card = words_of(tmp_path / "out")
    for words in (
        "| **mean IoU** | 51.2 | - |",
        "| IoU cat | 12.4 | - |",
        "| IoU dog | - | - |",
        "| split | val (3 images) |",
        "| classes in the mean | background, cat |",
        "| CRF | none |",
        "| scales | 1.0 |",
    ):
        assert words in card


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (None, "No figure was measured on these weights: the run has no results."),
        (
            {**RESULTS, "protocol": {**RESULTS["protocol"], "steps": 9}},
            f"No figure was measured on these weights, of step {STEPS}: the run's are of step 9.",
        ),
    ],
)
def test_the_card_has_no_figures_if_none_were_measured_on_these_weights(
    tmp_path: Path, results: dict[str, object] | None, said: str
) -> None:
    write_run(tmp_path / "run", results)
    exported = export_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "out")
    assert exported["figures"] is exported["protocol"] is None
    assert said in words_of(tmp_path / "out")
    assert "mean IoU" not in words_of(tmp_path / "out")


def test_the_example_of_the_card_predicts_a_mask(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_checkpoint(run, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((90, 70), 50).convert("RGB").save("photo.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text("utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 3
    names: dict[str, np.ndarray] = {}
    exec(re.sub(r'load\("[^"]+"\)', 'load("out")', code), names)
    assert names["mask"].shape == (70, 90)


@pytest.mark.parametrize("there", ["file", "folder with a file"])
def test_a_folder_that_is_not_empty_is_refused(run: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    notes = out if there == "file" else out / "README.md"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    with pytest.raises(UserError, match=rf"{out} exists and is not"):
        export_checkpoint(run, out)
    assert notes.read_text() == "mine"
    assert not (out / "model.safetensors").exists()


def test_damaged_results_are_reported_before_anything_is_written(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    for text in ("{", "[]", '{"protocol": {}}'):
        (tmp_path / "run" / "results.json").write_text(text)
        with pytest.raises(UserError, match=r"results\.json (does not contain the results|cannot be read)"):
            export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_outside_of_a_run_does_not_get_the_results_next_to_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    checkpoint = tmp_path / "elsewhere" / "last.ckpt"
    checkpoint.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    assert export_checkpoint(checkpoint, tmp_path / "out")["figures"] is None


def test_an_exported_folder_is_not_exported_again(run: Path, tmp_path: Path) -> None:
    export_checkpoint(run, tmp_path / "out")
    with pytest.raises(UserError, match="exported already"):
        export_checkpoint(tmp_path / "out", tmp_path / "again")


def test_the_command_in_the_readme_exports_a_run(run: Path, tmp_path: Path) -> None:
    (command,) = (words for words in map(shlex.split, COMMANDS) if words[1].startswith("ckpt="))
    script, ckpt, *rest = command
    (tmp_path / ckpt.removeprefix("ckpt=")).parent.mkdir(parents=True)
    (tmp_path / ckpt.removeprefix("ckpt=")).symlink_to(run)
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / script), ckpt, *rest],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    key, _, folder = result.stdout.splitlines()[-1].partition(" ")
    results = json.loads((Path(folder) / "results.json").read_text())
    assert key == "run:"
    assert results["figures"] == RESULTS["figures"]
    assert "torch" in results["versions"]["packages"]
    (out,) = (word.removeprefix("out=") for word in rest)
    assert secseg.load(tmp_path / out).input_size == 65


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Give one of ckpt="),
        ("ckpt=a caffe=b", "Give one of ckpt="),
        ("ckpt=none", "ckpt=none: there is no run folder, checkpoint or exported network"),
        ("caffe=none.caffemodel", "caffe=none.caffemodel: there is no Caffe model"),
    ],
)
def test_wrong_arguments_give_one_message_exit_code_1_and_no_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export.py", *words.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    assert stop.value.code == 1
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "runs").exists()
