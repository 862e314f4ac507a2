"""Numbers as text: of bytes, and of things."""

from __future__ import annotations

import pytest

from secseg.utils.text import count, part_of, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_214_000_000, "1.21 GB"),
        (77_100_000_000, "77.1 GB"),
        (5_432_000_000_000_000, "5432 TB"),
    ],
)
def test_a_number_of_bytes_has_three_digits_and_the_unit_that_fits(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1, ("class",), "1 class"),
        (2, ("class",), "2 classes"),
        (1, ("label belongs", "labels belong"), "1 label belongs"),
        (3, ("label belongs", "labels belong"), "3 labels belong"),
    ],
)
def test_words_agree_with_their_number(number: int, words: tuple[str, ...], text: str) -> None:
    assert count(number, *words) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 160, "1 of 160 images has"), (2, 160, "2 of 160 images have"), (1, 1, "1 of 1 image has")],
)
def test_the_verb_of_a_part_agrees_with_the_part(part: int, whole: int, text: str) -> None:
    assert part_of(part, whole, "image", "has", "have") == text
