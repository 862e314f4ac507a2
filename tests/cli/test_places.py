"""Missing files and folders are reported before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secseg.cli.places import check_data, check_places
from secseg.utils.config import compose, to_plain
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY


def check(command: str, *words: str) -> None:
    config = to_plain(compose(command, *words))
    if command in ("train", "make_cues"):
        check_data(config.get("data"))
    check_places(config)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("train", "experiment=own_images data.root=nowhere", "There is no folder nowhere. Set data.root to the folder"),
        ("make_cues", "data=folder data.root=nowhere", "There is no folder nowhere. Set data.root to the folder"),
        ("train", "data=voc12aug data.root=nowhere", "There is no data at nowhere, which is not a folder."),
        (
            "train",
            "data.cues=nowhere/cues.safetensors",
            "data.cues=nowhere/cues.safetensors: there is no cue file at",
        ),
        ("train", "ckpt_path=nowhere", "ckpt_path=nowhere: there is no checkpoint at this path."),
        ("make_cues", "stage=audit ~data cue_file=nowhere", "cue_file=nowhere: there is no cue file"),
        ("predict", "ckpt=nowhere/run images=photos", "The folder nowhere does not exist."),
        ("evaluate", "ckpt=nowhere", "ckpt=nowhere: there is no run folder, checkpoint or exported network"),
        ("evaluate", "masks=nowhere data=voc12aug", "masks=nowhere: there is no folder of masks"),
        ("export", "caffe=nowhere", "caffe=nowhere: there is no Caffe model"),
    ],
)
def test_what_does_not_exist_is_reported(
    command: str, words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        check(command, *words.split())
    assert message in str(raised.value)


def test_the_nearest_name_is_suggested_and_what_exists_or_will_be_drawn_passes(tmp_path: Path) -> None:
    (tmp_path / "my_data").mkdir()
    with pytest.raises(UserError, match="Did you mean 'my_data'"):
        check("make_cues", "data=folder", f"data.root={tmp_path}/my_dat")
    check("make_cues", "data=folder", f"data.root={tmp_path}/my_data")
    check("train", f"data.root={tmp_path}/drawn_at_first_use")
    check("train", f"data.root={tmp_path}/drawn", "loss=supervised", "data.masks=dataset")


@pytest.mark.parametrize("command", ["train", "make_cues"])
def test_a_wrong_folder_is_reported_before_torch_is_imported(command: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r})\n"
        f"sys.argv = ['{command}.py', 'data=folder', 'data.root=nowhere']\n"
        f"from secseg.cli.{command} import main\n"
        "try:\n    main()\n"
        "finally:\n    print({'torch', 'pytorch_lightning', 'numba', 'timm'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (1, "set()\n")
    assert result.stderr == "There is no folder nowhere. Set data.root to the folder of your images and labels.\n"
