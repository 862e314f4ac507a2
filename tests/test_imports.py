"""Packages are imported only if they are needed: torch takes two seconds, Lightning and timm three more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from secseg.data.classes import VOC_CLASSES
from secseg.models import build_network
from secseg.models.files.model_file import NAME, write_model
from tests.conftest import REPOSITORY

HEAVY = ("timm", "torchvision", "pytorch_lightning", "torchmetrics", "wandb", "matplotlib", "numba", "scipy")
PAPER = {
    "name": "vgg16_largefov",
    "input_size": 65,
    "freeze": False,
    "trunk": {"_target_": "secseg.models.vgg.VGG16LargeFOV", "weights": None},
    "head": {"_target_": "secseg.models.head.LargeFOVHead", "width": 8, "dilation": 12, "dropout": 0.5},
}


def imported(code: str, names: tuple[str, ...], folder: Path) -> set[str]:
    """Return which of the packages ``names`` a new process has imported after it ran ``code``."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r})\n{code}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(names) & set(result.stdout.splitlines()[-1].split())


def test_import_secseg_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported("import secseg", (*HEAVY, "torch", "numpy", "hydra", "omegaconf", "yaml"), tmp_path) == set()


def test_printing_the_config_of_any_command_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "from importlib import import_module\n"
        "names = 'train evaluate predict export prepare_voc prepare_coco make_cues report dashboard'\n"
        "for name in names.split():\n"
        "    sys.argv = [f'{name}.py', '--cfg', 'job']\n"
        "    import_module(f'secseg.cli.{name}').main()"
    )
    assert imported(code, (*HEAVY, "torch", "numpy"), tmp_path) == set()


def test_a_stored_vgg_is_loaded_and_images_are_read_without_timm_lightning_or_matplotlib(tmp_path: Path) -> None:
    network = build_network(PAPER, VOC_CLASSES)
    write_model(tmp_path / NAME, network, PAPER)
    code = f"import secseg; secseg.load({str(tmp_path)!r})\nimport secseg.inference.predict, secseg.models.files.export"
    assert imported(code, HEAVY, tmp_path) == set()
