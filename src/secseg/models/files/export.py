"""Export a trained network as a folder: weights with a description of their network, and a model card."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from secseg.data.classes import VOC_CLASSES
from secseg.models import Head, build_network
from secseg.models.files.caffe import import_caffe, read_caffe
from secseg.models.files.load import build_stored, find_network, read_checkpoint, stored_in_checkpoint, unfinished
from secseg.models.files.model_card import model_card
from secseg.models.files.model_file import NAME, StoredNetwork, write_model
from secseg.runs.run_reader import read_training_results
from secseg.utils.config import config_dir, loss_weights
from secseg.utils.errors import UserError
from secseg.utils.files import RESULTS, read_hashed, write_text
from secseg.utils.quoting import shell_override

log = logging.getLogger(__name__)

CARD = "README.md"


def export_checkpoint(path: str | Path, out: str | Path) -> dict[str, Any]:
    """Write the network of a run folder (its last checkpoint) or a checkpoint to ``out``. Return the command's results.

    The model card contains the figures of the run if they were measured on these weights.

    Raises:
        UserError: if there is no such network, or ``out`` cannot be written or is not empty.
    """
    file, out = find_network(path), check_out(out)
    if file.name == NAME:
        raise UserError(f"{file} is exported already. Give a run folder or a checkpoint.")
    checkpoint, digest = read_hashed(file, read_checkpoint)
    stored = stored_in_checkpoint(checkpoint, file)
    network = build_stored(stored, f"checkpoint {file}", Head, build_network)
    config, step = checkpoint["secseg"]["config"], checkpoint.get("global_step", 0)
    results = read_results(file)
    try:
        training = describe_training(config, step, None if results is None else results["protocol"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"The config in the checkpoint {file} is not that of a training run ({error!r}).") from error
    unmeasured = "No figure was measured on these weights: the run has no results."
    if results is not None and results["protocol"]["steps"] != step:
        measured_at, results = results["protocol"]["steps"], None
        unmeasured = f"No figure was measured on these weights, of step {step}: the run's are of step {measured_at}."
    elif results is not None and results["figures"]["without_crf"] is None:
        unmeasured, results = "No figure was measured: no validation image had a mask.", None
    origin = f"It was trained with secseg for {step} steps."
    write_text(out / CARD, model_card(network, stored.node, origin, training, results, unmeasured))
    write_model(out / NAME, network, stored.node)  # last, so that a folder with weights is complete
    measured = {key: None if results is None else results[key] for key in ("figures", "protocol")}
    for warning in (warnings := unfinished(checkpoint, Path(path).expanduser())):
        log.warning("%s", warning)
    return {"out": out, "source": file, "sha256": digest, "warnings": warnings, **measured}


def export_caffe(path: str | Path, out: str | Path) -> dict[str, Any]:
    """Write a Caffe network (see ``read_caffe``), such as the published one, to ``out``. Return the command's results.

    The network is DeepLab-LargeFOV on VGG-16 with the 21 classes of VOC.

    Raises:
        UserError: if the file is missing, damaged, or does not contain the weights of such a network; for ``out`` as in
            ``export_checkpoint``.
    """
    path, out = Path(path).expanduser(), check_out(out)
    if not path.is_file():
        raise UserError(f"There is no file {path}. Check caffe=.")
    backbone = yaml.safe_load((config_dir() / "backbone" / "vgg16_largefov.yaml").read_text("utf-8"))
    backbone["trunk"] |= {"weights": None, "normalization": "caffe"}
    with torch.device("meta"):
        wanted = build_network(backbone, VOC_CLASSES, weights=False).state_dict()
    caffe, digest = read_hashed(path, read_caffe)
    imported = import_caffe(caffe, wanted, str(path))
    if any(row.action == "initialised" for row in imported.report):
        raise UserError(
            f"{path} has no last layer (fc8) for the {len(VOC_CLASSES)} classes of VOC: these are initial weights, not "
            f"a trained network. Train with: backbone=vgg16_largefov "
            f"{shell_override('backbone.trunk.weights', path)}"
        )
    network = build_stored(StoredNetwork(backbone, VOC_CLASSES, imported.state), f"file {path}", Head, build_network)
    origin = f"It was converted from the Caffe weights `{path.name}` (SHA-256 {digest})."
    unmeasured = "secseg did not measure any figure on these weights."
    write_text(out / CARD, model_card(network, backbone, origin, {}, None, unmeasured))
    write_model(out / NAME, network, backbone)
    print(imported.table())
    report = [row._asdict() for row in imported.report]
    return {"out": out, "source": path, "sha256": digest, "report": report, "figures": None, "protocol": None}


def check_out(out: str | Path) -> Path:
    """Return the folder to write to, as an absolute path. Refuse a file, and a folder that is not empty."""
    out = Path(out).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder. Choose another out=<folder>.")
    return out


def read_results(checkpoint: Path) -> dict[str, Any] | None:
    """Return the ``results.json`` of the run that ``checkpoint`` belongs to; None if there is none."""
    checkpoint = checkpoint.absolute()
    path = checkpoint.parent.parent / RESULTS
    if checkpoint.parent.name != "checkpoints" or not path.is_file():
        return None
    results = read_training_results(path)
    if results is None or "steps" not in results["protocol"]:
        raise UserError(f"{path} does not contain the results of a training run. Correct it, or move it away.")
    return results


def describe_training(config: Mapping[str, Any], steps: int, protocol: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a network was trained with, by name: from its config, and from the run's protocol of its data."""
    data, optimizer = config["data"], dict(config["optim"]["optimizer"])
    return {
        "data": data["_target_"].rpartition(".")[2] if protocol is None else protocol["data"],
        "split": data["train_split"],
        "images": "not recorded" if protocol is None else protocol["train_images"],
        "cues": "not recorded" if protocol is None else protocol["cues"],
        "masks": data["masks"] or "none: image-level labels and cues alone",
        "loss weights": {term: weight for term, weight in loss_weights(config["loss"]).items() if weight},
        "decay": config["decay"] if protocol is None else protocol["decay"],
        "CRF in training": "not recorded" if protocol is None else protocol.get("training_crf") or "none",
        "trunk": "pretrained, frozen" if config["backbone"]["freeze"] else "trained",
        "pretrained weights": config["backbone"]["trunk"].get("weights"),
        "steps": steps,
        "batch": data["batch_size"],
        "optimiser": {"class": optimizer.pop("_target_"), **optimizer},
        "schedule": config["optim"]["schedule"],
        "seed": config["seed"],
    }
