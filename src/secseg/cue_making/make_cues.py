"""From image-level labels to cues: the command's work, checked before anything is computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secseg.cue_making.audit.audit_tables import audit_table
from secseg.cue_making.audit.compare_tables import comparison_table
from secseg.cue_making.exports import EXPORTS, audit_alone, audit_file, export_file
from secseg.cue_making.heads import ScoreHead
from secseg.cue_making.pipeline import Pipeline, cue_settings
from secseg.data.datamodule import ImageDataModule
from secseg.data.splits import ImageSet
from secseg.runs.run_writer import save_config, versions, write_results
from secseg.utils.checks import check_choice, check_flag, check_numbers, check_options, check_whole, refuse
from secseg.utils.config import build, find
from secseg.utils.device import PRECISIONS, pick_device, resolve_precision
from secseg.utils.errors import UserError
from secseg.utils.files import sha256, working_in

log = logging.getLogger(__name__)

STAGES = ("foreground", "background", "maps", "cues", "audit", "export")
BALANCES = ("none", "inverse")


def make_cues(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run what ``config`` (``conf/make_cues.yaml``, composed and plain) describes.

    The work folder gets the networks, maps, ``cues.safetensors``, the audit and the export, and a record of each stage;
    the run folder ``config.yaml`` and ``results.json``; the terminal the figures.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: for anything that the user can mend, if it can be known before anything is computed.
    """
    check(config)
    config = {**config, "precision": resolve_precision(config["precision"], pick_device(config["device"]).type)}
    run = Path(config["run_dir"])
    if config.get("data") is None:
        return _audit_alone(config, run)
    data = build(config["data"], ImageDataModule, seed=config["seed"])
    data.open_train()
    protocol = {"data": data.title, "images": data.train_images.title, "count": len(data.train_images.names)}
    if config["cue_file"] is not None:
        results = _of_cue_file(config, data, run)
    else:
        out = Path(config["out"]).expanduser()
        _keep_apart(out, data.train_images)
        pipeline = Pipeline(config, data, out, run)
        pipeline.check_networks()
        protocol |= {"labels": data.label_source(), "classes": list(data.train_images.class_names)}
        save_config(run, config)
        with working_in(out):
            results = _in_stages(pipeline)
    results["protocol"] = {**protocol, **results["protocol"]}
    results["versions"] = versions()
    write_results(run, results)
    _show(results["figures"])
    return results


def _in_stages(pipeline: Pipeline) -> dict[str, Any]:
    config, work = pipeline.config, pipeline.work
    work.run(pipeline.stages(), config["stage"])
    done = work.done
    return {
        "figures": {name: done[name].record["figures"] if name in done else None for name in STAGES},
        "protocol": {
            "out": work.path,
            "cues": {"file": pipeline.cue_file, "sha256": sha256(pipeline.cue_file)} if "cues" in done else None,
            "stages": {
                name: {key: stage.record[key] for key in ("fingerprint", "output")} for name, stage in done.items()
            },
            "settings": {key: config[key] for key in ("localization", "cues", "seed", "precision", "device")},
            "crf": pipeline.crf_node(),
        },
        "time": {name: stage.record["seconds"] for name, stage in done.items()},
        "ran": [name for name, stage in done.items() if stage.ran],
    }


def _of_cue_file(config: Mapping[str, Any], data: ImageDataModule, run: Path) -> dict[str, Any]:
    """Audit or export a cue file that is named, into the run folder."""
    path, stage = Path(config["cue_file"]).expanduser(), config["stage"]
    save_config(run, config)
    started = time.perf_counter()
    if stage == "audit":
        figures = audit_file(path, data.train_images, run / stage, config["against"], data.scored)
    else:
        figures = export_file(path, data.train_images, run / stage, config["export"])
    digest = sha256(path) if path.is_file() else None
    return {
        "figures": {name: figures if name == stage else None for name in STAGES},
        "protocol": {"cues": {"file": path, "sha256": digest}},
        "time": {stage: time.perf_counter() - started},
        "ran": [stage],
    }


def _audit_alone(config: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Audit a cue file without its images (``~data``): all that masks and pictures are not needed for."""
    save_config(run, config)
    started = time.perf_counter()
    figures = audit_alone(Path(config["cue_file"]).expanduser(), config["against"])
    results: dict[str, Any] = {
        "figures": {name: figures if name == "audit" else None for name in STAGES},
        "protocol": {"data": None, "cues": {"file": config["cue_file"]}},
        "time": {"audit": time.perf_counter() - started},
        "ran": ["audit"],
        "versions": versions(),
    }
    write_results(run, results)
    _show(results["figures"])
    return results


def check(config: Mapping[str, Any]) -> None:
    """Check ``config`` before any data is looked at.

    Raises:
        UserError: with every problem that is found, each naming its key and the legal values.
    """
    alone = config["stage"] == "audit" and config["cue_file"] is not None
    refuse(check_options(config, ("localization", "cues", "crf", "logger", *(() if alone else ("data",)))))
    refuse([*_choices(config), *_numbers(config), *_cues(config), *_networks(config["localization"])])


def _choices(config: Mapping[str, Any]) -> Iterator[str]:
    stage, export = config["stage"], config["export"]
    legal = {"stage": ("all", *STAGES), "export": (*EXPORTS, None), "precision": PRECISIONS}
    for key, choices in legal.items():
        yield from check_choice(key, config[key], choices)
    if stage == "export" and export is None:
        yield f"stage=export needs to know the form: give export=<{' or '.join(EXPORTS)}>."
    if config["cue_file"] is not None and stage not in ("audit", "export"):
        yield "cue_file is for stage=audit and stage=export alone: leave it out, or choose one of these."
    if stage == "background" and config["cues"].get("background") == "maps":
        yield "stage=background: cues.background=maps needs no background network. Give cues.background=saliency."
    try:
        pick_device(config["device"])
    except UserError as error:
        yield str(error)
    against = config["against"]
    if against is not None and not Path(against).expanduser().exists():
        yield f"against={against}: there is no such file."


def _numbers(config: Mapping[str, Any]) -> Iterator[str]:
    yield from check_whole("workers", config["workers"], 1, null=True)
    yield from check_whole("seed", config["seed"], 0)
    for name in ("foreground", "background"):
        node = config["localization"][name]
        for key in ("steps", "batch_size", "validate_every"):
            yield from check_whole(f"localization.{name}.{key}", node[key], 1)
        yield from check_choice(f"localization.{name}.balance", node["balance"], BALANCES)


def _cues(config: Mapping[str, Any]) -> Iterator[str]:
    cues = config["cues"]
    yield from check_numbers("cues.scales", cues["scales"], 0.1, most=10)
    yield from check_flag("cues.mirror", cues["mirror"])
    yield from check_whole("cues.grid", cues["grid"], 2)
    try:
        settings = cue_settings(cues)
    except UserError as error:
        yield str(error)
    else:
        if settings.refine and config["crf"]["train"]["backend"] == "none":
            yield "cues.refine=true needs a CRF, and crf.train.backend is none: give crf=paper, or cues.refine=false."


def _networks(localization: Mapping[str, Any]) -> Iterator[str]:
    head = localization["foreground"]["network"]["head"]
    if find(head["_target_"], ScoreHead).maps is ScoreHead.maps:
        yield (
            f"localization.foreground.network.head: a {head['_target_'].rpartition('.')[2]} has no class activation "
            "maps. Give _target_=secseg.cue_making.heads.ActivationMapHead."
        )


def _keep_apart(out: Path, images: ImageSet) -> None:
    """Refuse a work folder among the images, where its pictures would be taken for some of them.

    Raises:
        UserError: if it is in, or is, the folder that the images' names start from.
    """
    folders = {path.parents[name.count("/")] for name, path in zip(images.names, images.images, strict=True)}
    for folder in {folder.resolve() for folder in folders} & {out.resolve(), *out.resolve().parents}:
        raise UserError(
            f"out={out} lies among the images in {folder}, and its pictures would be taken for images. Choose another "
            "folder, or move the images into a folder images/ of their own."
        )


def _show(figures: Mapping[str, Any]) -> None:
    for name in ("foreground", "background"):
        if figures[name] is not None and figures[name]["map"] is not None:
            mean, count = figures[name]["map"], figures[name]["holdout_images"]
            print(f"{name} network: mean average precision {100 * mean:.1f} % on {count} held-out images")
    if figures["audit"] is not None:
        print(audit_table(figures["audit"]))
        if figures["audit"]["against"] is not None:
            print(comparison_table(figures["audit"]["against"], "cues", "against"))
    if figures["export"] is not None:
        if figures["export"]["resized"]:
            log.warning("The cues were brought to 41 x 41: small regions may be lost.")
        print(f"exported to {figures['export']['folder']}")
