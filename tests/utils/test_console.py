"""Tables are aligned, also with wide characters, and fit 100 columns; log lines are printed."""

from __future__ import annotations

import logging
import logging.config

import pytest
import yaml
from rich.cells import cell_len

from secseg.utils.config import config_dir
from secseg.utils.console import COLUMNS, PrintHandler, cut, markdown_table, percent, table


def test_names_are_aligned_to_the_left_and_numbers_to_the_right_in_columns_of_8() -> None:
    rows = [["class", "IoU", "size bias"], ["cat", "9.5", "1.00"], ["background", "88.0"], ["mean", "50.0", "-"]]
    assert table(rows, rule=-1).splitlines() == [
        "class            IoU  size bias",
        "cat              9.5       1.00",
        "background      88.0",
        "-------------------------------",
        "mean            50.0          -",
    ]


def test_columns_of_words_are_as_wide_as_their_words() -> None:
    assert table([["file", "network"], ["conv1_1", "a"]], left=2).splitlines() == ["file     network", "conv1_1  a"]


@pytest.mark.parametrize("name", ["猫", "ねこ", "Ｃａｔ", "e\u0301te\u0301"])  # noqa: RUF001
def test_wide_and_combining_characters_do_not_shift_a_column(name: str) -> None:
    lines = table([["class", "IoU"], [name, "1.0"], ["dog", "2.0"]]).splitlines()
    assert len({cell_len(line) for line in lines}) == 1


def test_a_name_that_is_too_long_is_cut_to_fit_the_line() -> None:
    lines = table([["class", *["IoU"] * 5], ["猫" * 200, *["1.0"] * 5]]).splitlines()
    assert cell_len(lines[1]) in (COLUMNS, COLUMNS - 1)
    assert "...  " in lines[1]
    assert cut("short", 10) == "short"
    assert cut("a long name", 8) == "a lon..."


def test_a_table_in_markdown_has_a_line_below_the_titles() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_share_without_a_value_is_a_dash() -> None:
    assert [percent(0.1234), percent(0.5, 0), percent(None), percent(float("nan"))] == ["12.3", "50", "-", "-"]


def test_log_lines_are_printed_to_the_current_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("lines")
    log.addHandler(PrintHandler())
    log.warning("one %s", "line")
    assert capsys.readouterr().out == "one line\n"


def test_messages_of_other_packages_about_themselves_are_not_printed() -> None:
    config = yaml.safe_load((config_dir() / "hydra" / "job_logging" / "print.yaml").read_text("utf-8"))
    names = ["matplotlib", "torch", "secseg"]
    before = {name: logging.getLogger(name).level for name in [*names, "root"]}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.NOTSET)  # as in a new process
        logging.config.dictConfig(config)
        enabled = {
            name: [logging.getLogger(name).isEnabledFor(level) for level in (logging.INFO, logging.WARNING)]
            for name in ("matplotlib.font_manager", "torch._subclasses.fake_tensor", "secseg.training.run")
        }
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert enabled == {
        "matplotlib.font_manager": [False, True],
        "torch._subclasses.fake_tensor": [False, True],
        "secseg.training.run": [True, True],
    }
