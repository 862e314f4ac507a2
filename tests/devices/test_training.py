"""Whole trainings on a fake device, from the config to the results, and after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import secseg.inference.full_size
from secseg.data.shapes import draw_shapes
from secseg.training.module import SECModule
from secseg.training.run import train
from secseg.utils.config import compose
from tests.devices.conftest import Plant
from tests.devices.fake import MEANT, fake_device, needs_fake_cuda
from tests.training.tiny_run import TINY

pytestmark = [needs_fake_cuda, pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")]

LIGHTNING = (
    "lightning_fabric.utilities.apply_func.convert_tensors_to_scalars",  # at each logged step
    "lightning_fabric.utilities.apply_func.move_data_to_device",  # at the end: the optimizer's state
    "lightning_fabric.utilities.device_dtype_mixin._DeviceDtypeModuleMixin.cpu",  # at the end: the network
    "pytorch_lightning.utilities.data.has_len_all_ranks",  # at the start of each loop
    "pytorch_lightning.plugins.precision.amp.MixedPrecision.optimizer_step",  # each step in float16: is it finite?
    "pytorch_lightning.plugins.precision.amp.MixedPrecision.state_dict",  # for each checkpoint in float16
)
BETWEEN_STEPS = (
    *LIGHTNING,
    "inference.full_size.apply_crf",
    "inference.full_size.predict_mask",
    "training.checkpoints.CheckpointFiles.save_checkpoint",
    "training.module.SECModule._summed",
    "training.module.SECModule.on_save_checkpoint",
    "training.monitor.StepClock.seconds",
    "training.run.summarise",
    "training.seed_figures._seeds",
)
"""Where the host waits at the start, for a log line, at a validation, for a checkpoint and at the end."""


ONE_STEP = ("trainer.max_steps=1", "trainer.val_check_interval=1", "evaluation.crf=never", "callbacks.seeds=null")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(root, train=6, val=1, seed=0)
    return root


def run(folder: Path, shapes: Path, device: str, precision: str, *more: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Train on a fake device; return the results, and how often the host has waited in each function."""
    others = ("trainer.accelerator", "trainer.log_every", "data.draw_val")
    settings = [word for word in TINY if not word.startswith(others)] + ["data.draw_val=1", "callbacks=seeds"]
    unused = [f"callbacks.{name}=null" for name in ("progress", "pictures", "curves")]
    accelerator = "gpu" if device == "cuda:0" else "mps"
    places = [f"data.root={shapes}", f"run_dir={folder / 'run'}", f"trainer.accelerator={accelerator}"]
    config = compose("train", *settings, *unused, *places, f"trainer.precision={precision}", *more)
    with fake_device(device, meant=(*MEANT, *BETWEEN_STEPS)) as fake:
        return train(config), dict(fake.waits)


@pytest.mark.parametrize(
    ("device", "precision"), [("cuda:0", "32-true"), ("cuda:0", "bf16-mixed"), ("mps:0", "32-true")]
)
def test_a_training_step_waits_where_it_is_meant(device: str, precision: str, shapes: Path, tmp_path: Path) -> None:
    _, waits = run(tmp_path, shapes, device, precision, *ONE_STEP)
    in_steps = {name: count for name, count in waits.items() if name in MEANT}
    if device == "cuda:0":
        assert in_steps == {
            "crf.lattice_torch.build_lattice": 2,
            "training.monitor.LossMonitor.raise_if_not_finite": 1,
        }
    else:
        assert in_steps == {
            "crf.lattice.Backend.solve": 2,
            "crf.base.MeanField.__call__": 1,
            "losses.pooling.global_weighted_rank_pooling": 2,
            "training.monitor.LossMonitor.check": 1,
        }


@pytest.mark.parametrize(("device", "precision"), [("cuda:0", "16-mixed"), ("mps:0", "16-mixed")])
def test_a_training_resumes_on_the_device(device: str, precision: str, shapes: Path, tmp_path: Path) -> None:
    first, _ = run(tmp_path, shapes, device, precision, *ONE_STEP)
    end = ("trainer.max_steps=2", "trainer.val_check_interval=2", "resume=auto")
    second, _ = run(tmp_path, shapes, device, precision, *end)
    assert (second["run"], second["trainer"].global_step) == (first["run"], 2)
    shown = second["module"].gallery[0]
    assert shown.prediction_crf.shape == shown.image.shape[:2]


def test_a_fault_in_a_training_step_is_found(plant: Plant, shapes: Path, tmp_path: Path) -> None:
    with plant(SECModule, "forward") as device:
        run(tmp_path, shapes, device, "32-true", *ONE_STEP)


def test_a_fault_in_a_validation_is_found(plant: Plant, shapes: Path, tmp_path: Path) -> None:
    with plant(secseg.inference.full_size, "full_size_probs") as device:
        run(tmp_path, shapes, device, "32-true", *ONE_STEP)
