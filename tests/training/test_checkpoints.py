from __future__ import annotations

import csv
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from secseg.runs.loggers import build_loggers
from secseg.training.checkpoints import CheckpointFiles, RandomStates
from secseg.utils.errors import UserError
from secseg.utils.signals import Stopped
from tests.tiny_training import EVERY, STEPS, TinyModule, fit


@pytest.fixture(autouse=True)
def _keep_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores Ctrl-C
    yield
    signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored after an interrupt


class Crash(Exception):
    pass


def _crash() -> None:
    raise Crash


def _interrupt() -> None:
    raise KeyboardInterrupt


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _send(signum: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), signum)


def _at(moment: int, action: Callable[[], None]) -> Callable[[int], None]:
    return lambda now: action() if now == moment else None


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _train(module: TinyModule, folder: Path, resume_from: Path | None = None) -> TinyModule:
    fit(module, folder, resume_from, loggers=build_loggers({}, folder, {}, "run"))
    return module


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyModule, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    module = _train(TinyModule(), folder)
    return module, _rows(folder)


BREAKS = {
    "a crash in a step": ({"on_step": _at(6, _crash)}, Crash, "last.ckpt", 4),
    "a crash, from its own checkpoint": ({"on_step": _at(6, _crash)}, Crash, "exception.ckpt", 6),
    "a crash in the step after a validation": ({"on_step": _at(4, _crash)}, Crash, "exception.ckpt", 4),
    "a crash in a validation": ({"on_validation": _at(1, _crash)}, Crash, "exception.ckpt", 4),
    "a crash in the last step": ({"on_step": _at(11, _crash)}, Crash, "exception.ckpt", 11),
    "Ctrl-C in a step": ({"on_step": _at(6, _press_ctrl_c)}, SystemExit, "last.ckpt", 7),
    "Ctrl-C in the step before a validation": ({"on_step": _at(7, _press_ctrl_c)}, SystemExit, "last.ckpt", 8),
    "Ctrl-C in a validation": ({"on_validation": _at(1, _press_ctrl_c)}, SystemExit, "last.ckpt", 4),
    "Ctrl-C that breaks a step off": ({"on_step": _at(6, _interrupt)}, SystemExit, "last.ckpt", 6),
    "SIGTERM": ({"on_step": _at(6, _send(signal.SIGTERM))}, SystemExit, "last.ckpt", 7),
    "a cluster's warning": ({"on_step": _at(6, _send(signal.SIGUSR1))}, SystemExit, "last.ckpt", 7),
    "a launcher's warning": ({"on_validation": _at(1, _send(signal.SIGUSR2))}, SystemExit, "last.ckpt", 4),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_run_resumed_after_an_interruption_equals_an_uninterrupted_one_bit_for_bit(
    case: str, tmp_path: Path, undisturbed: tuple[TinyModule, list[dict[str, str]]]
) -> None:
    breaks, error, name, step = BREAKS[case]
    broken = TinyModule(**breaks)
    with pytest.raises(error):
        _train(broken, tmp_path)
    checkpoint = tmp_path / "checkpoints" / name
    assert torch.load(checkpoint, weights_only=True)["global_step"] == step

    resumed = _train(TinyModule(), tmp_path, checkpoint)
    whole, rows = undisturbed
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    seen = dict([*broken.validated, *resumed.validated])
    assert seen == dict(whole.validated)
    assert _rows(tmp_path) == rows


def test_processes_draw_different_numbers_that_depend_only_on_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")

    def drawn(step: int, rank: int) -> float:
        trainer: Any = SimpleNamespace(global_rank=rank, global_step=step, accumulate_grad_batches=1)
        module = TinyModule()
        torch.manual_seed(0)
        RandomStates().on_train_batch_start(trainer, module, None, step)
        return float(torch.rand(1))

    first = [drawn(0, rank) for rank in range(3)]
    assert len(set(first)) == 3
    torch.manual_seed(0)
    assert first[0] == float(torch.rand(1)), "the first process keeps its state, as a single process does"
    assert drawn(0, 1) == first[1] != drawn(1, 1)


def test_each_validation_writes_last_and_best_with_names_that_hydra_can_parse(tmp_path: Path) -> None:
    module = TinyModule()
    trainer = fit(module, tmp_path)
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == ["best.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")


def test_a_damaged_best_checkpoint_is_reported_and_replaced_when_the_run_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = TinyModule()
    module.scores_by_step = {4: 0.5, 8: 0.4, 12: 0.3}
    fit(module, tmp_path, max_steps=8)
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:-200])
    fit(module, tmp_path, tmp_path / "checkpoints" / "last.ckpt")
    assert "best.ckpt is damaged" in caplog.text
    assert torch.load(best, weights_only=True)["global_step"] == 12


def test_best_is_the_checkpoint_with_the_highest_val_miou(tmp_path: Path) -> None:
    module = TinyModule()
    module.scores_by_step = {4: 0.3, 8: 0.5, 12: float("nan")}
    fit(module, tmp_path)
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 8


def test_the_last_step_is_saved_if_the_run_does_not_end_with_a_validation(tmp_path: Path) -> None:
    fit(TinyModule(), tmp_path, max_steps=EVERY + 2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == EVERY + 2


def test_a_crash_with_weights_that_are_not_finite_writes_no_checkpoint(tmp_path: Path) -> None:
    module = TinyModule()

    def spoil(step: int) -> None:
        if step == 6:
            module.net[0].weight.data[:] = torch.nan
            raise Crash

    module.on_step = spoil
    with pytest.raises(Crash):
        fit(module, tmp_path)
    assert not (tmp_path / "checkpoints" / "exception.ckpt").exists()
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.parametrize("on_step", [None, _at(2, _crash)])
def test_ctrl_c_works_as_before_once_training_has_ended(on_step: Callable[[int], None], tmp_path: Path) -> None:
    with suppress(Crash):
        fit(TinyModule(on_step=on_step), tmp_path, max_steps=4)
    with pytest.raises(KeyboardInterrupt):
        _press_ctrl_c()


def test_a_signal_is_raised_again_for_the_earlier_handler_once_the_run_has_stopped(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, _: seen.append(signum))
    try:
        with pytest.raises(Stopped) as stopped:
            fit(TinyModule(on_step=_at(2, _send(signal.SIGUSR2))), tmp_path)
        assert (stopped.value.code, seen) == (128 + signal.SIGUSR2, [])
        stopped.value.raise_again()
        assert seen == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fit(TinyModule(on_step=_at(2, _press_ctrl_c)), tmp_path, max_steps=4)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


def test_a_checkpoint_that_cannot_be_written_keeps_the_old_one_and_logs_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    files = CheckpointFiles()
    files.save_checkpoint({"a": torch.zeros(10)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(UserError, match="Cannot write"):
            files.save_checkpoint({"a": torch.rand(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.equal(files.load_checkpoint(path)["a"], torch.zeros(10))
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Code()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"evil\.ckpt cannot be read"):
        CheckpointFiles().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_a_missing_or_damaged_checkpoint_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint .*none\.ckpt"):
        CheckpointFiles().load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(UserError, match=r"bad\.ckpt cannot be read"):
        CheckpointFiles().load_checkpoint(tmp_path / "bad.ckpt")
