"""Settings of make_cues that are ``auto``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from secseg.crf import AUTO
from secseg.cue_making.fitted_settings import fit_to_data, without_auto
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
    assert left <= {"input_size", "output_stride", "levels", "device", "feature_cache", "mask_values", *AUTO}


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


@pytest.mark.parametrize(
    ("alone", "words", "text"),
    [
        (
            0,
            (),
            "None of 100 training images shows the background alone, so {key}=0.8 is chosen: the classifier takes ",
        ),
        (1, (), "Only 1 of 100 training images shows the background alone, so {key}=0.8 is chosen: "),
        (4, (), "Only 4 of 100 training images show the background alone, so {key}=0.8 is chosen: "),
        (0, ("{key}=0.5",), "The classifier takes the least likely 50 % of each image for background ({key}=0.5)."),
        (0, ("{key}=null",), None),
        (9, (), None),
    ],
)
def test_the_line_about_the_background_says_why_it_was_chosen_and_which_setting_changes_it(
    alone: int, words: tuple[str, ...], text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = "localization.foreground.background_share"
    labels = {str(at): () if at < alone else (1 + at % 3,) for at in range(100)}
    data: Any = SimpleNamespace(
        lacks_background=lacks_background(labels, list(labels), 3),
        train_images=SimpleNamespace(names=tuple(labels), images=()),
        image_labels=lambda: labels,
    )
    with caplog.at_level("INFO"):
        fit_to_data(config("localization=efficientnet_lite0_fast", *(word.format(key=key) for word in words)), data)
    lines = [line for line in caplog.messages if "background" in line]
    assert len(lines) == (text is not None)
    if text is not None:
        assert lines[0].startswith(text.format(key=key))
        assert ("null" in lines[0]) == (not words)
