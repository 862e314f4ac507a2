"""Panels and curves show what they are given."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from secseg.data.classes import VOID, voc_palette
from secseg.drawing.overlays import VOID_COLOUR, GalleryItem
from secseg.drawing.panels import curves, panel, save_figure

PALETTE = voc_palette()
NAMES = ("background", "aeroplane", "bicycle", "bird")


def item(height: int = 40, width: int = 60, **others: np.ndarray | None) -> GalleryItem:
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    mask[:4] = VOID
    cues = np.full((5, 5), VOID, np.uint8)
    cues[2, 2] = 2
    image = np.full((height, width, 3), 128, np.uint8)
    values = {"cues": cues, "prediction": mask % 255, "prediction_crf": mask % 255, "mask": mask, **others}
    return GalleryItem(name="a", image=image, **values)  # type: ignore[arg-type]


def texts(figure: Figure) -> set[str]:
    titles = {axes.get_title() for axes in figure.axes}
    return titles | {text.get_text() for legend in figure.legends for text in legend.get_texts()}


def test_a_panel_has_a_column_for_each_kind_of_mask_and_a_legend_of_its_classes() -> None:
    shown = texts(panel([item(), item(90, 30)], NAMES, PALETTE))
    assert {"image", "cues", "prediction", "prediction + CRF", "ground truth"} <= shown
    assert {"background", "aeroplane", "bicycle", "void"} <= shown
    assert "bird" not in shown


def test_a_cell_without_a_mask_or_cues_says_so() -> None:
    axes = panel([item(), item(mask=None), item(cues=None)], NAMES, PALETTE).axes
    words = {number: one.texts[0].get_text() for number, one in enumerate(axes) if one.texts}
    assert words == {5: "no cues", 13: "no mask"}  # by column, then by row
    assert not any(axes[number].images for number in words)


def test_the_cells_of_a_panel_show_the_colours_of_their_masks() -> None:
    axes = panel([item()], NAMES, PALETTE).axes
    image, cues, prediction, refined, truth = (one.images[0].get_array()[20] for one in axes)
    assert image.tolist() == [[128] * 3] * 60
    pale, green = cues[5], cues[30]
    assert pale[0] == pale[1] == pale[2] > 160  # no cue: the image in pale grey
    assert green[1] > green[0] + 80
    for shown in (prediction, refined):
        left, right = shown[10].tolist(), shown[50].tolist()
        assert left[0] == left[1] == left[2] < 128  # background
        assert right[0] > right[1] + 60 > right[2]  # maroon
    assert truth[10].tolist() == [0, 0, 0]
    assert truth[50].tolist() == [128, 0, 0]
    assert axes[4].images[0].get_array()[0, 0].tolist() == list(VOID_COLOUR)


def test_a_panel_of_eight_images_is_a_small_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 8, (8, 200, 240, 3))
    items = [item(200, 240) for _ in range(8)]
    items = [
        dataclasses.replace(one, image=(one.image + n).astype(np.uint8)) for one, n in zip(items, noise, strict=True)
    ]
    panel(items, NAMES, PALETTE).savefig(tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size < 1_000_000


def test_a_panel_leaves_out_columns_and_classes_without_content() -> None:
    shown = texts(panel([item(cues=None, prediction_crf=None, mask=None)], NAMES, PALETTE))
    assert shown & {"cues", "prediction + CRF", "ground truth", "void", "bicycle"} == set()


def test_a_class_name_may_have_any_characters(tmp_path: Path) -> None:
    names = ("background", "$\\frac$ 50 %", "_größe", "a=b/c")
    figure = panel([item()], names, PALETTE)
    save_figure(figure, tmp_path / "panel.png")
    shown = {text.get_text().replace("\\$", "$") for text in figure.legends[0].get_texts()}
    assert shown == {*names[:3], "void"}


def test_curves_are_drawn_from_sparse_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,train/loss,train/seed,val/miou,val/miou_crf\n0,3,2,,\n10,2,1,,\n10,,,0.4,\n20,1,0.5,,\n20,,,0.5,0.6\n"
    )
    terms, scores = curves(path, {"seed": "green", "expand": "red"}).axes
    assert [line.get_label() for line in terms.lines if not line.get_label().startswith("_")] == ["loss", "seed"]
    by_label = {line.get_label(): line.get_xydata().tolist() for line in scores.lines}
    assert by_label == {"without CRF": [[10, 40], [20, 50]], "with CRF": [[20, 60]]}


def test_curves_of_a_run_without_rows_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n")
    assert all(not axes.lines for axes in curves(path, {"seed": "green", "expand": "red"}).axes)
