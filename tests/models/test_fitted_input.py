"""``input_size: auto``: the input of a network by the size of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from secseg.models import build_network
from secseg.models.fitted_input import fit_input
from secseg.utils.config import compose, to_plain

AUTO = {"input_size": "auto", "freeze": True, "trunk": {"_target_": "x", "output_stride": "auto", "levels": "auto"}}


def images(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size).save(path)
    return paths


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((200, 150), (321, 16, [2, 3, 4])), ((321, 321), (321, 16, [2, 3, 4])), ((100, 500), (641, 32, [3, 4]))],
)
def test_small_images_have_a_small_input_and_both_give_41_cells(
    tmp_path: Path, size: tuple[int, int], fitted: tuple[Any, ...]
) -> None:
    node = fit_input(AUTO, images(tmp_path, size))
    assert (node["input_size"], node["trunk"]["output_stride"], node["trunk"]["levels"]) == fitted
    assert node["freeze"]
    assert node["trunk"]["_target_"] == "x"


@pytest.mark.parametrize("option", ["dinov2_s", "dinov3_s", "swin_t", "convnext_t", "resnet101"])
@pytest.mark.parametrize("side", [200, 500])
def test_each_trunk_gives_41_cells_for_own_images(tmp_path: Path, option: str, side: int) -> None:
    words = ("experiment=own_images", f"backbone={option}", "backbone.trunk.weights=null", "data.root=x")
    node = fit_input(to_plain(compose("train", *words))["backbone"], images(tmp_path, (side, side)))
    with torch.device("meta"):
        network = build_network(node, ("background", "cat"), weights=False)
    assert network.mask_size(node["input_size"]) == (41, 41)
    patch = {"dinov2_s": 14, "dinov3_s": 16}.get(option, 8 if side == 200 else 16)
    assert node["input_size"] == 41 * patch
    assert min(network.trunk.strides) == patch


def test_the_median_image_decides(tmp_path: Path) -> None:
    assert fit_input(AUTO, images(tmp_path, (200, 200), (180, 90), (4000, 3000)))["input_size"] == 321


def test_a_size_that_is_given_stays(tmp_path: Path) -> None:
    node = {"input_size": 401, "trunk": {"output_stride": 16, "levels": None}}
    assert fit_input(node, [tmp_path / "missing.png"]) == node
    assert fit_input({**AUTO, "input_size": 401}, images(tmp_path, (200, 200)))["input_size"] == 401


def test_training_and_cues_of_own_images_have_the_same_trunk(tmp_path: Path) -> None:
    paths = images(tmp_path, (200, 200))
    train = to_plain(compose("train", "experiment=own_images", "data.root=x"))["backbone"]
    cues = to_plain(compose("make_cues", "data=folder", "data.root=x"))["localization"]["foreground"]["network"]
    fitted = [fit_input(node, paths) for node in (train, cues)]
    assert fitted[0]["trunk"] == fitted[1]["trunk"]
    assert fitted[0]["input_size"] == fitted[1]["input_size"]
