from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from PIL import Image
from pytorch_lightning import Trainer

from secseg.runs.loggers import build_loggers
from secseg.training.callbacks import Curves, Pictures, ScoreTable, build_callbacks
from secseg.training.progress import Progress, SpeedMonitor
from secseg.utils.errors import UserError
from tests.tiny_training import CLASSES, EVERY, STEPS, TinyModule, fit


def test_without_a_terminal_lines_show_terms_rate_speed_eta_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = TinyModule(on_step=lambda step: module.print(f"the module at {step}"))
    callbacks = [SpeedMonitor(), Progress(every_seconds=0), ScoreTable()]
    fit(module, tmp_path, callbacks=callbacks, enable_progress_bar=True)
    text = capsys.readouterr().out
    assert "the module at 3\n" in text
    assert "\r" not in text
    line = next(line for line in text.splitlines() if line.startswith(f"step {STEPS}/{STEPS}"))
    number = r"-?\d[\d.e+-]*"
    pattern = rf"loss {number}  seed {number}  expand {number}  constrain {number}  lr {number}  {number} images/s"
    assert re.search(pattern + r"  ETA \d:\d\d:\d\d$", line), line
    assert "(100 %)" in line
    assert "lr 1.3e-03" in line  # 0.01 * 0.5 ** 3: the rate of steps 9 to 11
    for name in CLASSES:
        assert len(re.findall(rf"^{name} ", text, re.MULTILINE)) == STEPS // EVERY


def test_a_terminal_shows_one_bar_over_all_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    fit(TinyModule(), tmp_path, callbacks=[SpeedMonitor(), Progress()], enable_progress_bar=True)
    text = capsys.readouterr().out
    assert f"{STEPS}/{STEPS}" in text
    assert "seed" in text
    assert "Epoch" not in text


def test_the_speed_does_not_include_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    speeds: list[float] = []
    monkeypatch.setattr("secseg.training.progress.time.perf_counter", lambda: clock[0])

    class Timed(TinyModule):
        def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
            clock[0] += 0.5
            speeds.append(float(self.trainer.callback_metrics.get("train/images_per_second", 8)))

    def validate(batch: int) -> None:
        clock[0] += 100.0

    fit(Timed(on_validation=validate), tmp_path, callbacks=[SpeedMonitor()])
    assert speeds == [8.0] * STEPS  # 4 images in half a second


def test_pictures_and_curves_appear_after_each_validation(tmp_path: Path) -> None:
    fit(TinyModule(), tmp_path, callbacks=[Pictures(), Curves()], loggers=build_loggers({}, tmp_path, {}, "run"))
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["step_000004.png", "step_000008.png", "step_000012.png"]
    for path in [*pictures, tmp_path / "curves.png"]:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 100
            assert image.height > 50


def test_a_picture_has_a_row_for_each_image_of_the_gallery(tmp_path: Path) -> None:
    module, heights = TinyModule(), []
    fit(module, tmp_path, max_steps=EVERY)
    for items in (module.gallery[:1], module.gallery * 2):
        module.gallery = items
        Pictures().on_validation_end(module.trainer, module)
        with Image.open(tmp_path / "pictures" / f"step_{EVERY:06d}.png") as image:
            heights.append(image.height)
    assert heights[1] > 2 * heights[0]


def test_an_interrupt_closes_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    before = signal.getsignal(signal.SIGINT)
    progress = Progress()
    try:
        with pytest.raises(SystemExit):
            fit(TinyModule(on_step=interrupt), tmp_path, callbacks=[progress], enable_progress_bar=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert progress._bar is None


def test_any_callback_of_lightning_is_built_and_null_leaves_one_out() -> None:
    config = {"timer": {"_target_": "pytorch_lightning.callbacks.Timer", "interval": "step"}, "scores": None}
    assert [type(callback).__name__ for callback in build_callbacks(config)] == ["SpeedMonitor", "Timer"]


def test_an_unknown_option_and_a_class_that_is_not_a_callback_are_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks\.progress: .*Progress cannot be made with every=3"):
        build_callbacks({"progress": {"_target_": "secseg.training.progress.Progress", "every": 3}})
    with pytest.raises(UserError, match=r"is no Callback"):
        build_callbacks({"net": {"_target_": "torch.nn.Linear"}})


def test_the_sanity_check_before_training_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer: Trainer = fit(TinyModule(), tmp_path, callbacks=[ScoreTable()], max_steps=1, num_sanity_val_steps=2)
    assert trainer.global_step == 1
    assert "background" not in capsys.readouterr().out
