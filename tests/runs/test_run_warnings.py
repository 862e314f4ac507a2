"""Warnings of several runs are listed once each, with the runs that have them."""

from __future__ import annotations

from pathlib import Path

from secseg.runs.run_reader import read_warnings
from secseg.runs.run_warnings import MOST, grouped_warnings


def test_a_text_is_listed_once_with_its_runs() -> None:
    found = grouped_warnings({"a": ["x", "y", "y"], "b": ["x"], "c": ["x", "z"]})
    assert found == ["All 3 runs: x", "a: y", "c: z"]
    assert grouped_warnings({"a": ["x"]}) == ["a: x"]
    assert grouped_warnings({"a": [], "b": []}) == grouped_warnings({}) == []


def test_many_runs_and_many_texts_are_shortened() -> None:
    assert grouped_warnings({**{name: ["x"] for name in "abcde"}, "f": []}) == ["a; b; c; and 2 more: x"]
    lines = grouped_warnings({"a": [str(number) for number in range(MOST + 3)]})
    assert len(lines) == MOST + 1
    assert lines[-1] == "The results.json files hold 3 more warnings."


def test_warnings_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert read_warnings(path) == []
    for text, expected in (
        ("", []),
        ("[1]", []),
        ("3", []),
        ("{}", []),
        ('{"warnings": [1]}', []),
        ('{"warnings": {"a": "b"}}', []),
        ('{"warnings": ["a", "b"]}', ["a", "b"]),
    ):
        path.write_text(text)
        assert read_warnings(path) == expected
