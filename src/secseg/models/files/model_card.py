"""The model card (README.md) of an exported network: its parts, its training, its figures, and how to use it."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from secseg.models import SegmentationNet
from secseg.models.files.model_file import NAME
from secseg.runs.run_writer import versions
from secseg.utils.console import markdown_table, percent

USE = """
import secseg

network = secseg.load("path/to/this/folder"{plugins})
mask = network.predict("photo.jpg")  # (H, W) uint8: class numbers, whose names are network.class_names
""".strip()


def model_card(
    network: SegmentationNet,
    backbone: Mapping[str, Any],
    origin: str,
    training: Mapping[str, Any],
    results: Mapping[str, Any] | None,
    unmeasured: str,
) -> str:
    """Return the text of the card.

    Args:
        backbone: node of ``conf/backbone`` of the exported network.
        origin: where the weights come from, a sentence.
        training: what the network was trained with, by name; empty if this is not known.
        results: the run's ``results.json``; None if its figures were not measured on these weights.
        unmeasured: why there are no figures, a sentence for the case that ``results`` is None.
    """
    measured = list(_figures(results)) if results is not None else [unmeasured]
    packages = versions()["packages"]
    used = {name: packages[name] for name in ("secseg", "torch", "torchvision", "timm", "safetensors")}
    sections = [
        f"# {backbone.get('name', network.trunk.architecture)}: a network for semantic segmentation",
        f"Made with secseg, a framework for SEC (*Seed, Expand and Constrain*, Kolesnikov and Lampert, ECCV 2016). "
        f"{origin} `{NAME}` contains its weights and, as metadata, what is needed to build it. It contains no code.",
        "## The network",
        _table("what", "value", _network(network, backbone)),
        "## Training",
        _table("what", "value", training) if training else "The file of the weights does not describe their training.",
        "## Figures",
        *measured,
        "## Use",
        f"```python\n{USE.format(plugins=_plugins(backbone))}\n```",
        "`predict` enlarges the probabilities to the size of the image with aligned corners and refines them with a "
        "fully connected CRF, as `python src/predict.py` does. Commands take this folder as `ckpt=`.",
        "## Licence",
        "The code of secseg is under the MIT licence. The weights depend on the training data and on the pretrained "
        "trunk, whose licences apply to them. Check these before you pass the weights on. This is a note, not legal "
        "advice.",
        "## Versions",
        _table("exported with", "version", used),
    ]
    fill = partial(textwrap.fill, width=120, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(text if text.startswith(("|", "```", "#")) else fill(text) for text in sections) + "\n"


def _plugins(backbone: Mapping[str, Any]) -> str:
    """Return the argument ``plugins`` of ``secseg.load``, with a comma before it, if trunk or head need one."""
    packages = {str(backbone[part]["_target_"]).partition(".")[0] for part in ("trunk", "head")} - {"secseg"}
    return f", plugins={sorted(packages)}" if packages else ""


def _network(network: SegmentationNet, backbone: Mapping[str, Any]) -> dict[str, Any]:
    size, norm = network.input_size, network.trunk.normalization
    height, width = network.mask_size(size)
    return {
        "trunk": {"architecture": network.trunk.architecture, **_options(backbone["trunk"])},
        "head": {"class": type(network.head).__name__, **_options(backbone["head"])},
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        "input": f"(B, 3, {size}, {size}), RGB, 0 to 255; other sizes are possible",
        "normalisation": {"inside the network:": norm.order.upper(), "minus": norm.mean, "over": norm.std},
        "output": f"scores (B, {len(network.class_names)}, {height}, {width}); softmax gives probabilities",
        "classes": ", ".join(network.class_names),
    }


def _figures(results: Mapping[str, Any]) -> Iterator[str]:
    protocol = results["protocol"]
    figures = results["figures"]
    columns = {"without CRF": figures.get("without_crf"), "with CRF": figures.get("with_crf")}
    rows = {"**mean IoU**": [percent(column and column["miou"]) for column in columns.values()]}
    rows["pixel accuracy"] = [percent(column and column["pixel_accuracy"]) for column in columns.values()]
    for name in (columns["without CRF"] or {}).get("iou", {}):
        rows[f"IoU {name}"] = [percent(column and column["iou"].get(name)) for column in columns.values()]
    yield "In percent. A dash means that the figure was not measured."
    yield markdown_table(["figure", *columns], [[_plain(name), *values] for name, values in rows.items()])
    yield "They were measured with this protocol. Compare them with figures of the same protocol only:"
    yield _table(
        "protocol",
        "value",
        {
            "data": protocol.get("data"),
            "split": f"{protocol.get('val_split')} ({protocol.get('val_images')} images)",
            "classes in the mean": protocol.get("scored"),
            "training images": protocol.get("train_images"),
            "image-level labels": protocol.get("labels"),
            "pretraining of the trunk": protocol.get("trunk_pretraining", "not recorded"),
            "settings chosen on": protocol.get("tuned_on") or "not stated",
            "training masks": protocol.get("training_masks_used", protocol.get("training_masks")),
            "CRF": protocol.get("crf") or "none",
            "scales": protocol.get("scales"),
            "mirrored too": protocol.get("mirror"),
            "input size": protocol.get("input_size"),
            "precision": protocol.get("precision"),
            "weights": protocol.get("checkpoint"),
        },
    )


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("_target_", "weights", "normalization")}


def _table(first: str, second: str, rows: Mapping[str, Any]) -> str:
    return markdown_table([first, second], [[_plain(name), _plain(value)] for name, value in rows.items()])


def _plain(value: Any) -> str:
    """Return a value of a config or of results as text; only the last part of a path, since the rest is private."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in value)
    text = value if isinstance(value, str) else json.dumps(value)
    text = Path(text).name if os.path.isabs(text) else text
    return text.replace("|", "\\|").replace("\n", " ")
