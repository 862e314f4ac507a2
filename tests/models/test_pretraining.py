"""The protocol states what a trunk was pretrained on: by the name of timm's weights, or as the user states."""

from __future__ import annotations

import pytest

from secseg.models import build_network
from secseg.models.pretraining import (
    CLASSES,
    HASHTAGS,
    MASKS,
    RANDOM,
    SELF_SUPERVISED,
    TEXT,
    UNKNOWN,
    pretraining_of,
    stated_pretraining,
    timm_pretraining,
)
from tests.evaluation.report.synthetic import config


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("resnet50", CLASSES),
        ("vgg16.tv_in1k", CLASSES),
        ("tf_efficientnet_b4.ns_jft_in1k", CLASSES),
        ("vit_base_patch16_224.augreg_in21k", CLASSES),
        ("vit_base_patch16_224.dino", SELF_SUPERVISED),
        ("vit_base_patch14_dinov2.lvd142m", SELF_SUPERVISED),
        ("vit_base_patch14_dinov2", SELF_SUPERVISED),
        ("vit_small_patch16_dinov3.lvd1689m", SELF_SUPERVISED),
        ("vit_base_patch16_224.mae", SELF_SUPERVISED),
        ("hiera_tiny_224.mae_in1k_ft_in1k", f"{SELF_SUPERVISED}, then {CLASSES}"),
        ("convnextv2_tiny.fcmae_ft_in22k_in1k", f"{SELF_SUPERVISED}, then {CLASSES}"),
        ("vit_base_patch16_clip_224.openai", TEXT),
        ("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", f"{TEXT}, then {CLASSES}"),
        ("vit_base_patch16_siglip_224.webli", TEXT),
        ("eva02_base_patch14_224.mim_in22k", TEXT),
        ("resnext101_32x8d.fb_wsl_ig1b_ft_in1k", f"{HASHTAGS}, then {CLASSES}"),
        ("samvit_base_patch16.sa1b", MASKS),
        ("a_model_of_the_future.secret", UNKNOWN),
    ],
)
def test_the_supervision_follows_from_the_name_in_timm(model: str, expected: str) -> None:
    assert timm_pretraining(model) == expected


def test_a_file_is_not_known_unless_the_user_states_it() -> None:
    found = pretraining_of("some/where/vgg.safetensors", CLASSES)
    assert found == f"file vgg.safetensors, {UNKNOWN}"
    assert stated_pretraining(found, "Places365") == "file vgg.safetensors, stated: Places365"
    assert stated_pretraining(found, None) == found
    assert pretraining_of("imagenet.pth", CLASSES) == f"file imagenet.pth, {UNKNOWN}"
    assert pretraining_of("imagenet_features", CLASSES) == CLASSES
    assert pretraining_of(None, CLASSES) == RANDOM


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet50", "vgg16_largefov"])
@pytest.mark.parametrize(("weights", "expected"), [("imagenet", CLASSES), ("null", RANDOM)])
def test_every_built_in_trunk_states_its_pretraining(backbone: str, weights: str, expected: str) -> None:
    node = config(f"backbone={backbone}", f"backbone.trunk.weights={weights}")["backbone"]
    assert build_network(node, ("background", "cat"), weights=False).trunk.pretraining == expected
