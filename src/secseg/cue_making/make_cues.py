"""The command that makes cues from image-level labels, audits cue files and exports them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from secseg.cue_making.audit.compare import compare_cues
from secseg.cue_making.audit.cue_warnings import cue_warnings
from secseg.cue_making.audit.label_check import label_line
from secseg.cue_making.audit.measure import count_cues, summarize
from secseg.cue_making.audit.page import FIGURES, audit_file
from secseg.cue_making.audit.sizes import sizes_table
from secseg.cue_making.audit.tables import audit_table, comparison_table
from secseg.cue_making.cue_file import CUES
from secseg.cue_making.export import EXPORTS, export_file
from secseg.cue_making.fitted_settings import fit_to_data, without_auto
from secseg.cue_making.heads import ScoreHead
from secseg.cue_making.imports import CueImport
from secseg.cue_making.pipeline import Pipeline
from secseg.cue_making.recipes import build_recipe
from secseg.data.classes import VOC_CLASSES, VOID
from secseg.data.cues import CueStore, open_cues
from secseg.data.datamodule import ImageDataModule
from secseg.data.labels import FoundLabels
from secseg.data.splits import ImageSet
from secseg.runs.run_writer import versions, write_config, write_results
from secseg.utils.checks import (
    check_choice,
    check_flag,
    check_number,
    check_numbers,
    check_options,
    check_whole,
    refuse,
)
from secseg.utils.config import build, find, to_plain
from secseg.utils.device import PRECISIONS, pick_device, resolve_precision
from secseg.utils.errors import UserError
from secseg.utils.files import sha256, working_in
from secseg.utils.progress import Stopwatch

log = logging.getLogger(__name__)

STAGES = ("all", "audit", "export")
BALANCES = ("none", "inverse")


def make_cues(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run what ``config`` (``conf/make_cues.yaml``, composed) describes.

    The output folder gets networks, maps, ``cues.safetensors``, ``audit/`` and ``export/``; for a ``cue_file``, the run
    folder gets ``audit/`` or ``export/``. The run folder gets ``config.yaml`` and ``results.json``, the terminal the
    figures.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: for anything that the user can fix, before anything is computed if it can be known by then.
    """
    config = to_plain(config)
    check(without_auto(config, lacks_background=False))
    config = {**config, "precision": resolve_precision(config["precision"], pick_device(config["device"]).type)}
    run, out, named = Path(config["run_dir"]), Path(config["out"]).expanduser(), config["cue_file"]
    cues, folder = (out / CUES, out) if named is None else (Path(named).expanduser(), run)
    data = None if config.get("data") is None else _open_data(config["data"], config["seed"])
    if data is not None and named is None:
        _keep_apart(out, data.train_images)
        _keep_other_files(out / "audit")
    if data is not None and config["stage"] == "all":
        config = fit_to_data(config, data)
    maker = None
    if data is not None and config["stage"] == "all":
        maker = (Pipeline if config["maps"] is None else CueImport)(config, data, out, run)
        maker.check()
    watch, figures = Stopwatch(), dict.fromkeys(("foreground", "background", "audit", "export"))
    with ExitStack() as locks:
        for place in {run.absolute(), folder.absolute()}:
            locks.enter_context(working_in(place))
        write_config(run, config)
        if maker is not None:
            figures |= maker.make(watch)
        if config["stage"] != "export":
            with watch("audit"):
                figures["audit"] = _audit(cues, data, folder / "audit", config["against"])
        if config["export"] is not None and config["stage"] != "audit" and data is not None:
            with watch("export"):
                place, form = folder / "export", config["export"]
                figures["export"] = export_file(cues, data.train_images, place, form, config["workers"])
    found = [] if figures["audit"] is None else figures["audit"]["warnings"]
    results = {
        "figures": figures,
        "warnings": [*([] if data is None else data.warnings), *found],
        "protocol": {**_protocol(cues, data), **({} if maker is None else maker.protocol())},
        "time": watch.seconds,
        "ran": list(watch.seconds),
        "versions": versions(),
    }
    write_results(run, results)
    _show(figures)
    return results


def _audit(path: Path, data: ImageDataModule | None, folder: Path, against: str | None) -> dict[str, Any]:
    store = open_cues(path)
    other = None if against is None else open_cues(against)
    if data is not None:
        own = data.own_labels()
        labels = None if own is None else FoundLabels(own, data.label_source())
        return audit_file(store, data.train_images, folder, other, data.scored, data.warnings, labels)
    names = _class_names(store)
    counts = count_cues(store, names)
    return {
        **summarize(counts),
        "warnings": cue_warnings(counts, store.provenance),
        "label_differences": None,
        "against": None if other is None else compare_cues(store, other, None, names),
        "sizes": None,
    }


def _class_names(store: CueStore) -> Sequence[str]:
    """Return the class names that a cue file states; else VOC's, or numbers if there are more classes."""
    most = int(store.labels[store.labels != VOID].max(initial=0))
    known = store.provenance.get("class_names", VOC_CLASSES)
    return known if len(known) > most else ("background", *(f"class {number}" for number in range(1, most + 1)))


def _open_data(node: Mapping[str, Any], seed: int) -> ImageDataModule:
    data = build(node, ImageDataModule, seed=seed)
    data.open_train()
    return data


def _protocol(cues: Path, data: ImageDataModule | None) -> dict[str, Any]:
    file = {"file": cues, "sha256": sha256(cues) if cues.is_file() else None}
    if data is None:
        return {"data": None, "cues": file}
    images = data.train_images
    return {"data": data.title, "images": images.title, "count": len(images.names), "cues": file}


def check(config: Mapping[str, Any]) -> None:
    """Check ``config`` before any data is read; raise a UserError with every problem, its key and the legal values."""
    alone = config["stage"] == "audit" and config["cue_file"] is not None and config.get("data") is None
    groups = ("localization", "cues", "crf", "logger")
    refuse(check_options(config, groups if alone else ("data", *groups)))
    refuse([*_choices(config), *_numbers(config), *_cues(config), *_networks(config["localization"])])


def _choices(config: Mapping[str, Any]) -> Iterator[str]:
    yield from check_choice("stage", config["stage"], STAGES)
    yield from check_choice("export", config["export"], (*EXPORTS, None))
    yield from check_choice("precision", config["precision"], PRECISIONS)
    if config["stage"] == "export" and config["export"] is None:
        yield f"stage=export needs the form: give export=<one of {', '.join(EXPORTS)}>."
    maps = config["maps"] if isinstance(config["maps"], list) else [config["maps"]]
    if len(maps) not in (1, 2) or not all(one is None or isinstance(one, str) for one in maps):
        yield f"maps={config['maps']}: give one folder, or two with CRF files of PSA, that of the low alpha first."
    if config["maps"] is not None and config["stage"] != "all":
        yield "maps is for stage=all: leave it out, or leave out stage."
    if config["cue_file"] is not None and config["stage"] == "all":
        yield "cue_file is for stage=audit and stage=export: leave it out, or choose one of these stages."
    try:
        pick_device(config["device"])
    except UserError as error:
        yield str(error)
    against = config["against"]
    if against is not None and not Path(against).expanduser().exists():
        yield f"against={against}: the file does not exist."


def _numbers(config: Mapping[str, Any]) -> Iterator[str]:
    yield from check_whole("workers", config["workers"], 1, null=True)
    yield from check_whole("seed", config["seed"], 0)
    for name in ("foreground", "background"):
        node = config["localization"][name]
        for key in ("steps", "batch_size", "validate_every"):
            yield from check_whole(f"localization.{name}.{key}", node[key], 1)
        yield from check_choice(f"localization.{name}.balance", node["balance"], BALANCES)
        yield from check_whole(f"localization.{name}.running_maximum", node["running_maximum"], 1, null=True)
        share, key = node["background_share"], f"localization.{name}.background_share"
        yield from check_number(key, share, above=0, below=1, null=True)
        if share is not None and not has_maps(node["network"]["head"]):
            yield f"{key}={share} needs a head with class activation maps (ActivationMapHead), or null."
    if (count := config["localization"]["background"]["running_maximum"]) is not None:
        yield (
            f"localization.background.running_maximum={count}: only the maps of the foreground network are used. Give "
            "localization.foreground.running_maximum."
        )


def _cues(config: Mapping[str, Any]) -> Iterator[str]:
    cues = config["cues"]
    yield from check_numbers("cues.scales", cues["scales"], 0.1, most=10)
    yield from check_flag("cues.mirror", cues["mirror"])
    yield from check_whole("cues.grid", cues["grid"], 2)
    try:
        recipe = build_recipe(cues)
    except UserError as error:
        yield str(error)
    else:
        if "crf" in recipe.needs and config["crf"]["train"].get("backend") == "none":
            yield "This cue recipe needs a CRF, and crf.train.backend is none: give crf=paper, or cues=official."


def _networks(localization: Mapping[str, Any]) -> Iterator[str]:
    head = localization["foreground"]["network"]["head"]
    if not has_maps(head):
        yield (
            f"localization.foreground.network.head: a {head['_target_'].rpartition('.')[2]} has no class activation "
            "maps. Give _target_=secseg.cue_making.heads.ActivationMapHead."
        )


def has_maps(head: Mapping[str, Any]) -> bool:
    """Return whether the head of a node has class activation maps."""
    return find(head["_target_"], ScoreHead).maps is not ScoreHead.maps


def _keep_apart(out: Path, images: ImageSet) -> None:
    """Refuse an output folder that is, or lies in, the folder that the images' names start from: the pictures in it
    would be taken for images."""
    folders = {path.parents[name.count("/")] for name, path in zip(images.names, images.images, strict=True)}
    for folder in {folder.resolve() for folder in folders} & {out.resolve(), *out.resolve().parents}:
        raise UserError(
            f"out={out} lies among the images in {folder}, and its pictures would be taken for images. Choose another "
            "folder, or move the images into a folder images/ of their own."
        )


def _keep_other_files(folder: Path) -> None:
    """Refuse a folder with files that are not of an audit, which always has a file with figures."""
    if folder.is_dir() and not (folder / FIGURES).is_file() and any(path.name[0] != "." for path in folder.iterdir()):
        raise UserError(
            f"{folder} holds files, but no audit of cues: they might be overwritten. Move them away, or choose another "
            "folder with out=."
        )


def _precision(mean: float | None) -> str:
    if mean is None or math.isnan(mean):
        return "mean average precision unknown (no class is in some images and not in others)"
    return f"mean average precision {100 * mean:.1f} %"


def _show(figures: Mapping[str, Any]) -> None:
    for name in ("foreground", "background"):
        if figures[name] is not None and (count := figures[name]["holdout_images"]):
            print(
                f"{name} network: {_precision(figures[name]['map'])} on {count} held-out images "
                "(of their labels, not of the places of cues)"
            )
    if figures["audit"] is not None:
        print(audit_table(figures["audit"]))
        if figures["audit"]["label_differences"] is not None:
            print(label_line(figures["audit"]["label_differences"]))
        if figures["audit"]["against"] is not None:
            print(comparison_table(figures["audit"]["against"]))
        if figures["audit"]["sizes"]:
            print(sizes_table(figures["audit"]["sizes"]))
        for warning in figures["audit"]["warnings"]:
            log.warning("%s", warning)
    if figures["export"] is not None:
        for warning in figures["export"]["warnings"]:
            log.warning("%s", warning)
        print(f"exported to {figures['export']['folder']}")
