"""Settings of make_cues that are ``auto``."""

from __future__ import annotations

from typing import Any

import pytest

from secseg.cue_making.fitted_settings import without_auto
from secseg.cue_making.make_cues import check
from secseg.data.label_warnings import lacks_background
from secseg.utils.config import compose, flatten, to_plain


def config(*words: str) -> dict[str, Any]:
    return to_plain(compose("make_cues", "data=folder", "data.root=x", *words))


def fitted(lacks: bool, *words: str) -> tuple[Any, ...]:
    found = without_auto(config(*words), lacks)
    foreground = found["localization"]["foreground"]
    head, cues = foreground["network"]["head"], found["cues"]
    return foreground["background_share"], head["relative"], cues["share"], cues["smooth"]


def test_labels_that_show_the_background_have_the_settings_that_were_chosen_on_voc() -> None:
    assert fitted(False) == (None, False, 0.1, 4)


def test_labels_that_do_not_show_the_background_have_a_background_share() -> None:
    assert fitted(True) == (0.8, True, pytest.approx(0.6), 1)


def test_a_share_that_is_given_for_the_foreground_network_holds_for_the_background_network() -> None:
    given = without_auto(config("localization.foreground.background_share=null"), True)["localization"]["background"]
    assert given["background_share"] is None
    assert given["network"]["head"]["relative"] is False


def test_the_user_decides_against_what_the_labels_show() -> None:
    assert fitted(True, "localization.foreground.background_share=null") == (None, False, 0.1, 4)
    assert fitted(False, "localization.foreground.background_share=0.5", "cues.share=0.3") == (0.5, True, 0.3, 1)
    assert fitted(True, "localization.foreground.network.head.relative=false")[1] is False


@pytest.mark.parametrize("option", ["efficientnet_lite0", "efficientnet_lite0_fast", "paper", "timm"])
def test_only_the_size_of_the_input_stays_auto(option: str) -> None:
    given = without_auto(config(f"localization={option}"), True)
    left = {key.rpartition(".")[2] for key, value in flatten(given).items() if value == "auto"}
    assert left <= {"input_size", "output_stride", "levels", "device", "widths_at", "feature_cache", "mask_values"}


def test_a_setting_that_is_neither_auto_nor_legal_is_refused() -> None:
    with pytest.raises(Exception, match=r"background_share=1\.5"):
        check(without_auto(config("localization.foreground.background_share=1.5"), False))


@pytest.mark.parametrize(
    ("classes", "alone", "lacks"),
    [(3, 0, True), (3, 4, True), (3, 5, False), (5, 0, True), (6, 0, False), (1, 0, True)],
)
def test_few_classes_and_hardly_an_image_of_the_background_alone_lack_background(
    classes: int, alone: int, lacks: bool
) -> None:
    labels = {str(at): () if at < alone else (1 + at % classes,) for at in range(100)}
    assert lacks_background(labels, list(labels), classes) is lacks
