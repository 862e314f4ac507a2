"""Numbers of bytes as text."""

from __future__ import annotations

import pytest

from secseg.utils.text import size_text


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
