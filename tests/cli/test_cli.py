"""The command line of a user: help, messages, exit codes, the last line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch._utils import ExceptionWrapper
from torch.utils.data import Dataset

from secseg.cli.command import run_command
from secseg.cli.help import help_text
from secseg.cli.messages import explain
from secseg.data.samples import loader
from secseg.training.settings import check_settings
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

TRAIN = REPOSITORY / "src" / "train.py"
# Stands for the training: what it does is the value of data.root.
FAKE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from secseg.cli.command import run_command
from secseg.training.settings import check_settings
from secseg.utils.errors import UserError

def task(config):
    check_settings(config)
    if config["data"]["root"] == "user":
        raise UserError("There is no data. Make some.")
    if config["data"]["root"] == "wrapped":
        try:
            raise UserError("There is no data. Make some.")
        except UserError as error:
            raise RuntimeError("Error in call to target") from error
    if config["data"]["root"] == "bug":
        raise RuntimeError("an assumption broke")
    if config["data"]["root"] == "full":
        raise OSError(28, "No space left on device", "runs/last.ckpt")
    if config["data"]["root"] == "interrupt":
        raise KeyboardInterrupt
    if config["data"]["root"] == "lightning":
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)
    print("children see", os.environ.get("HYDRA_FULL_ERROR"))
    folder = Path(config["run_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text("done")
    return folder

run_command("train", task, "python src/train.py")
"""


def run(script: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, str(script), *words],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(source=str(REPOSITORY / "src")))
    return script


def test_help_imports_neither_hydra_nor_torch(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r}); sys.argv = ['train.py', '--help'];"
        "from secseg.cli.train import main; main();"
        "heavy = {'torch', 'pytorch_lightning', 'hydra', 'numpy', 'timm', 'wandb'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Train a segmentation network")


def test_help_shows_every_group_with_its_options_on_one_page(tmp_path: Path) -> None:
    text = run(TRAIN, tmp_path, "--help").stdout
    lines = text.splitlines()
    assert len(lines) < 130
    for group in ("data", "backbone", "decay", "loss", "crf", "optim", "trainer", "logger", "experiment", "debug"):
        assert any(line.startswith(f"  {group} ") for line in lines), group
        for option in (REPOSITORY / "conf" / group).glob("*.yaml"):
            assert any(line[4:].split(" ")[0] == option.stem for line in lines), option
    assert "   *shapes " in text
    assert "decay.pos=0.996 trainer.devices=1" in text
    assert not any(line.startswith("  local ") for line in lines), "a file of the machine, not an option"


@pytest.mark.parametrize("name", ["train", "make_cues", "evaluate", "predict"])
def test_help_has_its_comments_in_one_column_next_to_the_longest_name(name: str) -> None:
    lines = help_text(name, "").partition("Groups:")[2].partition("\n\nKeys:")[0].splitlines()[1:]
    places = [re.match(r"[ *]*\S+ {2,}(?=\S)", line) for line in lines]
    assert len(lines) > 5
    assert len({place and place.end() for place in places}) == 1


def test_each_command_has_help(tmp_path: Path) -> None:
    for script in sorted((REPOSITORY / "src").glob("*.py")):
        result = run(script, tmp_path, "--help")
        assert result.returncode == 0, result.stderr
        assert f"{sys.executable} {script} " in result.stdout, "as the user called it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("decay.poss=1", "Did you mean 'decay.pos'?"),
        ("trainr.devices=1", "Did you mean 'trainer.devices'?"),
        ("lr=1", "Did you mean 'optim.optimizer.lr'?"),
        ("decayy=paper", "Did you mean 'decay'?"),
        ("optim=sgd optim.optimizer.momentm=1", "Did you mean 'optim.optimizer.momentum'?"),
        ("decay.adaptive.share=0.5", "decay.adaptive.share: unknown key. It exists with decay=adaptive."),
        ("callbacks.ema.decay=0.5", "callbacks.ema.decay: unknown key. It exists with callbacks=ema."),
        ("decay.foo=1", "The keys of decay are adaptive, bg, fraction, neg, pooling, pos"),
        ("decay.xyzzy=1", "The keys of decay are adaptive, bg, fraction, neg, pooling, pos"),
        (
            "decay=papr",
            "Did you mean 'paper'? The options are adaptive, average, fraction, large_objects, max, paper, "
            "small_objects.",
        ),
        ("loss.size={_target_:my_package.Size}", "write +loss.size=..., with a plus sign"),
        ("plugins=[my_package] loss=size", "add hydra.searchpath=[pkg://my_package.conf]"),
        ("backbone=resnet5", "Did you mean 'resnet50' or 'resnet101'?"),
        ("logger=[csv,wand]", "Did you mean 'wandb'?"),
        ("-m decay=paper,papr", "Did you mean 'paper'?"),
        ("hydra/launcher=jobli", "Did you mean 'joblib'?"),
        ("decay=null", "Choose an option"),
        ("data={a:1}", "data cannot be set to this value"),
        ("smoke", "Write key=value"),
        ("optim.optimizer.lr=a=b", "is quoted twice"),
        ("data=shapes,voc12aug", "--multirun"),
        ("--decay.pos=1", "Settings have no dashes: decay.pos=1"),
        ("--experiment own_images", "Settings have no dashes: experiment=own_images"),
        ("loss=sec --seed 1 -crf off -m", "Unknown flags: --seed -crf. Settings have no dashes: seed=1 crf=off"),
        ("--foo", "Unknown flags: --foo. Flags are -m (sweep), --cfg job and --help; settings are key=value."),
        ("--cfg jobs", "Flags are -m (sweep), --cfg job and --help"),
        ("trainer.devices=${foo}", "Interpolation key 'foo' not found"),
        ("decay.pos=1.5 data.batch_size=0", "decay.pos=1.5: give a number in [0, 1]"),
    ],
)
def test_a_wrong_word_ends_in_one_message_and_exit_code_1(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *words.split()])

    def task(config: dict[str, Any]) -> Path:
        check_settings(config)
        pytest.fail("the words passed")

    with pytest.raises(SystemExit) as stop:
        run_command("train", task, "")
    printed = capsys.readouterr()
    assert stop.value.code == 1
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) <= 4
    assert "run:" not in printed.out
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_group_of_another_command_is_reported_with_the_commands_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["make_cues.py", "experiment=own_images"])
    with pytest.raises(SystemExit):
        run_command("make_cues", lambda _: pytest.fail("the words passed"), "")
    printed = capsys.readouterr().err
    assert "make_cues.py has no group 'experiment', which " in printed
    assert "train.py has. Its groups are data, localization, cues, crf, logger." in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("root", ["user", "wrapped"])
def test_an_error_of_the_user_ends_in_its_message_only(fake: Path, tmp_path: Path, root: str) -> None:
    result = run(fake, tmp_path, f"data.root={root}")
    assert (result.returncode, result.stderr) == (1, "There is no data. Make some.\n")
    assert not (tmp_path / "runs").exists(), "nothing came of the run, so its folder is gone, and the empty ones above"


def test_a_traceback_is_shown_if_it_is_asked_for(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "data.root=user", HYDRA_FULL_ERROR="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "There is no data. Make some." in result.stderr


def test_a_debug_run_shows_the_message_of_a_users_error_and_the_traceback_of_ours(fake: Path, tmp_path: Path) -> None:
    for option in ("smoke", "overfit", "profile"):
        assert run(fake, tmp_path, "data.root=user", f"debug={option}").stderr == "There is no data. Make some.\n"
    assert "Traceback" in run(fake, tmp_path, "data.root=bug", "debug=smoke").stderr


def test_a_run_folder_of_its_own_leaves_no_empty_folder(fake: Path, tmp_path: Path) -> None:
    assert run(fake, tmp_path, "run_dir=mine").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake.py", "mine"]
    (tmp_path / "runs" / "sec").mkdir(parents=True)
    (tmp_path / "runs" / "sec" / "notes.txt").write_text("of the user")
    assert run(fake, tmp_path, "run_dir=other").returncode == 0
    assert [path.name for path in (tmp_path / "runs" / "sec").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("words", [("--help",), ("run_dir=mine",)])
def test_a_closed_output_ends_the_command_without_a_traceback(
    fake: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` at its end
    result = subprocess.run(
        [sys.executable, str(fake), *words], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_an_error_of_ours_keeps_its_traceback(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "data.root=bug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stderr.rstrip().endswith("RuntimeError: an assumption broke")


def test_a_full_disk_is_reported(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "data.root=full")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "No space is left on the disk of runs/last.ckpt" in result.stderr


@pytest.mark.parametrize("root", ["interrupt", "lightning"])
def test_ctrl_c_ends_with_130_and_a_short_line(fake: Path, tmp_path: Path, root: str) -> None:
    result = run(fake, tmp_path, f"data.root={root}")
    assert (result.returncode, result.stderr) == (130, "Interrupted. The same command with resume=auto continues.\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, 'name="猫"', PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 0, result.stderr
    assert "\\u732b" in result.stdout.splitlines()[-1]


def test_the_last_line_names_the_run_folder_in_the_callers_folder(fake: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = run(fake, elsewhere, "name=mine")
    assert result.returncode == 0, result.stderr
    key, _, folder = result.stdout.splitlines()[-1].partition(" ")
    assert key == "run:"
    assert Path(folder).is_dir()
    assert Path(folder).parent == elsewhere / "runs" / "mine"
    assert "children see None" in result.stdout


def test_further_processes_of_a_run_do_not_repeat_the_last_line(fake: Path, tmp_path: Path) -> None:
    assert "run:" not in run(fake, tmp_path, LOCAL_RANK="1").stdout


def test_flags_may_be_between_settings(fake: Path, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "loss=seed", "-m", "seed=1,2", "++data.limit=3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("run: ") == 3, "each job's and the sweep's"


def test_a_sweep_over_several_devices_is_refused_with_advice(fake: Path, tmp_path: Path) -> None:
    for words in ("trainer.devices=2", "trainer=ddp", "trainer.devices=auto"):
        result = run(fake, tmp_path, "-m", words)
        assert result.returncode == 1
        assert "A sweep (-m) cannot spread its jobs over devices" in result.stderr
        assert "Use trainer.devices=1" in result.stderr


def test_an_error_from_a_loader_process_is_reported_without_the_traceback_of_that_process() -> None:
    try:
        raise UserError("x.jpg is damaged:\n  truncated")
    except UserError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UserError, match="Traceback") as raised:
        wrapped.reraise()
    assert explain(raised.value, "train", []) == "x.jpg is damaged:\n  truncated"


class Deadly(Dataset[dict[str, Any]]):
    """A data set whose reader ends by a signal, as by a system that is out of memory, or by its exit code."""

    def __init__(self, cause: int | None) -> None:
        self.cause = cause

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.cause is None:
            os._exit(3)
        os.kill(os.getpid(), self.cause)
        return {}


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (signal.SIGKILL, "A loader process was killed, probably for lack of memory. Lower data.workers."),
        (signal.SIGTERM, "A loader process was ended by another process or a person (SIGTERM)."),
        (None, "A loader process ended unexpectedly."),
    ],
)
def test_a_loader_process_that_ends_is_reported_with_its_cause(cause: int | None, text: str) -> None:
    with pytest.raises(RuntimeError) as raised:
        next(iter(loader(Deadly(cause), workers=1)))
    messages = [explain(raised.value, name, []) for name in ("train", "make_cues")]
    resumptions = ("resume=auto resumes the training.", "The same command resumes the work.")
    for message, resumption in zip(messages, resumptions, strict=True):
        assert message is not None
        assert message.startswith(text)
        assert message.splitlines()[0].endswith(resumption)
        assert ("memory" in message.splitlines()[0]) == (cause == signal.SIGKILL)
