"""A setting out of range gives one message with its key and the legal values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from secseg.utils.checks import (
    check_choice,
    check_flag,
    check_number,
    check_numbers,
    check_options,
    check_whole,
    is_number,
    refuse,
)
from secseg.utils.errors import UserError


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        (check_number("a", -1, 0), "a=-1: give a number of at least 0."),
        (check_number("a", 0, above=0), "a=0: give a number above 0."),
        (check_number("a", 1.5, 0, most=1), "a=1.5: give a number in [0, 1]."),
        (check_number("a", 1, 0, below=1), "a=1: give a number in [0, 1)."),
        (check_number("a", 0, above=0, below=1), "a=0: give a number in (0, 1)."),
        (check_number("a", math.nan), "a=nan: give a number."),
        (check_number("a", True, 0), "a=True: give a number of at least 0."),
        (check_number("a", None, 0), "a=None: give a number of at least 0."),
        (check_number("a", "x", 0, null=True, note="why"), "a=x: give a number of at least 0, or null (why)."),
        (check_numbers("a", [], 0.1, most=10), "a=[]: give a list of numbers in [0.1, 10]."),
        (check_numbers("a", [1, 11], 0.1, most=10), "a=[1, 11]: give a list of numbers in [0.1, 10]."),
        (check_numbers("a", "12"), "a=12: give a list of numbers."),
        (check_whole("a", 0, 1), "a=0: give a whole number of at least 1."),
        (check_whole("a", 1.0, 1, null=True), "a=1.0: give a whole number of at least 1, or null."),
        (check_whole("a", True, 0), "a=True: give a whole number of at least 0."),
        (
            check_choice("a", "ploy", ("step", "poly", None)),
            "a=ploy: give one of step, poly, null. Did you mean 'poly'?",
        ),
        (check_flag("a", 1), "a=1: give true or false."),
        (check_options({"data": {}, "crf": None}, ["data", "crf"]), "crf has no option chosen: give crf=<option>."),
    ],
)
def test_a_value_that_is_not_legal_gives_one_message(problems: Iterator[str], message: str) -> None:
    assert list(problems) == [message]


@pytest.mark.parametrize(
    "problems",
    [
        check_number("a", 0, 0),
        check_number("a", np.float32(1), 0, most=1),
        check_number("a", None, 0, null=True),
        check_numbers("a", (0.5, 1), 0.1, most=10),
        check_whole("a", np.int64(3), 3),
        check_whole("a", None, 1, null=True),
        check_choice("a", None, ("png", None)),
        check_flag("a", False),
    ],
)
def test_a_legal_value_gives_no_message(problems: Iterator[str]) -> None:
    assert list(problems) == []


def test_all_problems_are_raised_as_one_error_and_none_raises_nothing() -> None:
    with pytest.raises(UserError, match=r"^first\nsecond$"):
        refuse(iter(["first", "second"]))
    refuse([])


@pytest.mark.parametrize("value", [True, "1", None, math.inf, math.nan, [1]])
def test_bools_texts_and_infinities_are_not_numbers(value: object) -> None:
    assert not is_number(value)
