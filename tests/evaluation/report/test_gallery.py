"""The gallery shows the right images, with the predictions and scores of the runs."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secseg.data.classes import VOID, voc_palette
from secseg.drawing.html import mask_source
from secseg.drawing.overlays import colorize
from secseg.evaluation.report.gallery import choose, gallery
from secseg.evaluation.report.runs import find_runs
from secseg.evaluation.report.study import Study, open_study
from secseg.utils.resizing import reduced_size, resize_mask
from tests.evaluation.report.conftest import Sweep
from tests.evaluation.report.synthetic import write_run


def study_of(*folders: Path) -> Study:
    return open_study(find_runs(list(map(str, folders)))[0])


def picture(address: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(address.partition(",")[2])))


def test_half_of_the_images_differ_most_and_the_others_are_spread_evenly() -> None:
    names = [f"{number:02}" for number in range(20)]
    disagreement = [0.0] * 20
    disagreement[3], disagreement[17], disagreement[4] = 0.5, 0.4, 0.1
    assert choose(names, disagreement, 4) == ["00", "03", "17", "19"]
    assert choose(names, [0.0] * 20, 3) == ["00", "10", "19"]  # where all agree, evenly alone (9.5 rounds to even)
    assert choose(names, disagreement, 99) == names
    assert choose(names, disagreement, 1) == ["00"]


def test_a_palette_png_has_each_colour_of_its_mask_and_no_other() -> None:
    mask = np.array([[0, 3], [VOID, 3]], np.uint8)
    image = picture(mask_source(mask, voc_palette()))
    assert np.array_equal(np.asarray(image.convert("RGB")), colorize(mask, voc_palette()))
    assert len(image.getcolors()) == 3


def test_each_image_has_its_pictures_figures_and_classes(sweep: Sweep) -> None:
    study = study_of(sweep.folder)
    shown = gallery(study, study.settings, 99)
    assert shown.settings == ("loss=sec", "loss=seed", "loss=seed_expand")
    assert shown.variants == ("without_crf", "with_crf")
    assert [name for name, _ in shown.classes][:2] == ["background", "bird"]
    assert [image["name"] for image in shown.images] == sorted(sweep.truths)
    for image in shown.images:
        truth = sweep.truths[image["name"]]
        assert image["classes"] == [number for number in np.unique(truth) if number != VOID]
        size = reduced_size(truth.shape, 240)
        assert picture(image["photo"]).size == size[::-1]
        colours = np.asarray(picture(image["truth"]).convert("RGB"))
        assert np.array_equal(colours, colorize(resize_mask(truth, size), voc_palette()))
        for variant in shown.variants:
            masks = [
                sweep.predicted[f"loss={loss},seed=0"][variant][image["name"]]
                for loss in ("sec", "seed", "seed_expand")
            ]
            for address, mask in zip(image["masks"][variant], masks, strict=True):
                colours = np.asarray(picture(address).convert("RGB"))
                assert np.array_equal(colours, colorize(resize_mask(mask, size), voc_palette()))
            assert image["differs"][variant][0][2] == pytest.approx((masks[0] != masks[2]).mean(), abs=1e-4)
            known = truth != VOID
            found = [
                ((masks[1] == number) & (truth == number)).sum()
                / (((masks[1] == number) & known) | (truth == number)).sum()
                for number in range(8)
                if ((masks[1] == number) & known).any() or (truth == number).any()
            ]
            assert image["iou"][variant][1] == pytest.approx(np.mean(found), abs=1e-4)


def test_missing_data_costs_only_the_images_and_the_page_says_so(sweep: Sweep, tmp_path: Path) -> None:
    for loss in ("seed", "sec"):
        write_run(tmp_path / loss, ("data=voc12aug", f"data.root={tmp_path}/gone", f"loss={loss}"), sweep.truths)
    study = study_of(tmp_path)
    shown = gallery(study, study.settings, 2)
    assert "whose files are missing" in " ".join(shown.about)
    assert [image["photo"] for image in shown.images] == [None, None]
    assert all(address for image in shown.images for address in image["masks"]["with_crf"])


def test_a_damaged_image_costs_only_its_picture(
    truths: dict[str, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.evaluation.report.synthetic import draw

    draw(tmp_path / "shapes")
    name = next(iter(truths))
    (tmp_path / "shapes" / "JPEGImages" / f"{name}.jpg").write_bytes(b"damaged")
    words = (f"data.root={tmp_path}/shapes", "data.draw_train=1", f"data.draw_val={len(truths)}")
    write_run(tmp_path / "run", words, truths)
    study = study_of(tmp_path / "run")
    shown = gallery(study, study.settings, 99)
    assert [image["photo"] is None for image in shown.images] == [True, *[False] * (len(truths) - 1)]
    assert f"{name} is shown without image" in caplog.text


def test_without_predictions_or_images_the_gallery_is_empty(sweep: Sweep, tmp_path: Path) -> None:
    study = study_of(sweep.folder)
    assert gallery(study, study.settings, 0).images == []
    write_run(tmp_path / "run", (), sweep.truths)
    (tmp_path / "run" / "val_counts.npz").unlink()
    study = study_of(tmp_path)
    shown = gallery(study, study.settings, 9)
    assert shown.images == []
    assert "no predictions of single images" in shown.about[0]
