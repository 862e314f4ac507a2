"""Tables for the page and the Markdown file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from secseg.evaluation.bootstrap import Difference
from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.study import Row, Setting, Spread, Study, open_study, study_rows
from secseg.evaluation.report.tables import (
    Cell,
    Table,
    class_table,
    cost_table,
    difference,
    escaped,
    markdown,
    plain,
    protocol_table,
    results_csv,
    tables,
)
from tests.evaluation.report.conftest import Sweep


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> Study:
    return open_study(find_runs(str(sweep.folder))[0])


def row(difference: Difference | None = None, **iou: float) -> Row:
    found = {name: Spread((value,)) for name, value in iou.items()}
    differences = {} if difference is None else {"with_crf": difference}
    return Row(Setting({"a": str(id(found))}, ()), {"with_crf": Spread((0.5,))}, {"with_crf": found}, differences, {})


def test_the_main_table_marks_the_best_mean_and_clear_differences(study: Study) -> None:
    main = tables(study, study_rows(study))[0]
    assert main.head[:3] == ["loss", "runs", "mean IoU without CRF"]
    by_loss = {line[0].text: line for line in main.lines}
    assert by_loss["sec"][4].mark == "best"
    assert by_loss["sec"][5].text == "baseline"
    assert by_loss["seed"][4].mark == ""
    assert by_loss["seed"][5].mark == "lower"
    assert re.fullmatch(r"-\d+\.\d \(-\d+\.\d to -\d+\.\d\) ▼", by_loss["seed"][5].text)
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", by_loss["seed"][4].text)


def test_figures_on_the_split_on_which_settings_were_chosen_are_marked(study: Study) -> None:
    assert tables(study, study_rows(study))[0].note == ""
    chosen = study.settings[0].runs[0]
    protocol = {**chosen.results["protocol"], "tuned_on": "lists/val.txt"}
    run = replace(chosen, results={**chosen.results, "protocol": protocol})
    tuned = replace(study, settings=(replace(study.settings[0], runs=(run,)), *study.settings[1:]))
    main = tables(tuned, study_rows(tuned))[0]
    assert ["†" in line[2].text for line in main.lines] == [True, *[False] * (len(main.lines) - 1)]
    note = "† Settings were chosen on the same split (val), so these figures are too high."
    assert main.note == note
    assert markdown(main).endswith(f"\n\n{note}")
    assert plain(main, 1).endswith(f"\n{note}")


def test_the_protocol_lists_what_runs_state_and_where_they_differ(study: Study) -> None:
    first, second = study.settings[0].runs[0], study.settings[1].runs[0]
    stated = {"labels": "cls_labels.npy", "cues": {"source": "official SEC cue file", "sha256": "0"}, "scored": []}
    runs = [
        replace(one, results={"protocol": entry}) for one, entry in ((first, stated), (second, {"labels": "masks"}))
    ]
    settings = tuple(Setting({"at": str(at)}, (run,)) for at, run in enumerate(runs))
    lines = {line[0].text: line[1].text for line in protocol_table(replace(study, settings=settings)).lines}
    assert lines["image-level labels"] == "cls_labels.npy; masks"
    assert lines["cues"] == "official SEC cue file"
    assert lines["pretraining of the trunk"] == "-"


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        (None, Cell("-")),
        (Difference(float("nan"), 0.1, 0.2), Cell("-")),
        (Difference(0.01, -0.01, 0.03), Cell("+1.0 (-1.0 to +3.0)", 0.01)),
        (Difference(0.02, 0.01, 0.03), Cell("+2.0 (+1.0 to +3.0) ▲", 0.02, "higher")),
        (Difference(-0.02, -0.03, -0.01), Cell("-2.0 (-3.0 to -1.0) ▼", -0.02, "lower")),
    ],
)
def test_a_difference_is_marked_if_its_interval_does_not_hold_0(found: Difference | None, cell: Cell) -> None:
    assert difference(row(found), "with_crf") == cell


def test_the_best_of_a_class_is_marked_unless_all_are_equal_or_missing(study: Study) -> None:
    small = Study(study.swept, study.settings, study.baseline, ("cat", "dog", "cow"))
    table = class_table(small, [row(cat=0.0, dog=0.25), row(cat=0.0, dog=0.75)], "with_crf")
    assert [[cell.mark for cell in line] for line in table.lines] == [["", "", "", ""], ["", "", "best", ""]]
    assert [cell.text for cell in table.lines[0][1:]] == ["0.0", "25.0", "-"]


def test_the_cost_table_has_no_column_without_a_measurement(study: Study) -> None:
    table = cost_table(study_rows(study))
    assert not any("GPU" in name for name in table.head)
    assert [cell.text for cell in table.lines[0][1:]] == ["1.5", "0.5", "20", "2"]


def test_markdown_shows_text_unchanged() -> None:
    text = markdown(Table("t", ["a|b"], [[Cell("x*y* <b>\n`c` [d](e)", None, "best")], [Cell("seed_expand")]]))
    assert text.splitlines() == [
        r"| a\|b |",
        "| --- |",
        r"| **x\*y\* \<b> \`c\` \[d\](e)** |",
        "| seed_expand |",
    ]
    assert escaped("_a_b") == r"\_a_b"


def test_the_csv_file_has_a_line_for_each_run_with_its_iou_in_percent(study: Study) -> None:
    lines = list(csv.DictReader(io.StringIO(results_csv(study))))
    assert [(line["loss"], line["seed"]) for line in lines] == [
        (loss, seed) for loss in ("sec", "seed", "seed_expand") for seed in ("0", "1")
    ]
    run = study.settings[0].runs[0]
    score = run.scores("with_crf")
    assert score is not None
    assert float(lines[0]["miou_with_crf"]) == pytest.approx(100 * score["miou"], abs=0.005)
    assert float(lines[0]["background_with_crf"]) == pytest.approx(100 * score["iou"]["background"], abs=0.005)
    assert lines[0]["step_seconds"] == "0.5"
    assert lines[0]["folder"] == run.folder.name
