"""From labels to a cue file: networks, maps and cues, each kept under a fingerprint of what it was made from.

The output folder holds::

    networks/<fingerprint>/network.safetensors    a trained network; network.json has its settings and figures
    networks/<fingerprint>/snapshots/             with running_maximum, the network at earlier steps
    maps/<fingerprint>/<image>.safetensors        the maps of each image

and the cues (see ``CueMaker``). What is there under its fingerprint is used, what is missing is computed.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from secseg.cue_making.classifier import LocalizationNet, build_localization_net, load_localization
from secseg.cue_making.cue_file import CueMaker, fingerprint, plugin_code
from secseg.cue_making.maps import missing_maps, read_maps, trunk_features, write_maps
from secseg.cue_making.plan import announce_maps
from secseg.cue_making.recipes import MAP_KEYS, CueInputs
from secseg.cue_making.snapshots import snapshot_files
from secseg.cue_making.training import NAME, open_cache, train_classifier
from secseg.data.cues import Cues
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.runs.loggers import build_loggers
from secseg.runs.wandb_logger import finish_wandb
from secseg.training.feature_cache import FeatureCache
from secseg.utils.device import pick_device
from secseg.utils.files import read_json, sha256, write_text
from secseg.utils.parallel import with_progress
from secseg.utils.progress import Stopwatch

log = logging.getLogger(__name__)

RECORD = "network.json"


class Pipeline(CueMaker):
    """Makes cues from the maps of a classifier that it trains. Arguments as for ``CueMaker``."""

    def __init__(self, config: Mapping[str, Any], data: ImageDataModule, out: Path, run: Path) -> None:
        super().__init__(config, data, out, run)
        self.labels = data.image_labels()
        self.parts = ("foreground", "background") if "saliency" in self.recipe.needs else ("foreground",)

    def check(self) -> None:
        for part in self.parts:
            with torch.device("meta"):
                self._build(part, weights=False)
        super().check()

    def protocol(self) -> dict[str, Any]:
        keys = ("localization", "cues", "seed", "precision", "device")
        settings = {key: self.config[key] for key in keys}
        return {**super().protocol(), "labels": self.data.label_source(), "settings": settings}

    def _source_fingerprints(self) -> dict[str, str]:
        data = {"classes": self.images.class_names, "images": self._image_digests(), "labels": self.labels}
        prints = {part: fingerprint(self._network_inputs(part), data) for part in self.parts}
        prints["maps"] = fingerprint({key: self.config["cues"][key] for key in MAP_KEYS}, prints)
        return prints

    def _folder(self, name: str) -> Path:
        return self.out / ("maps" if name == "maps" else "networks") / self.fingerprints[name]

    def _network_inputs(self, part: str) -> dict[str, Any]:
        node = self.config["localization"][part]
        weights = node["network"]["trunk"].get("weights")
        file = None if weights is None else Path(str(weights)).expanduser()
        off = ("running_maximum",) if node["running_maximum"] is None else ()  # as for networks without the setting
        return {
            "settings": {key: value for key, value in node.items() if key not in off},
            "seed": self.config["seed"],
            "precision": self.config["precision"],
            "weights": sha256(file) if file is not None and file.is_file() else None,
            "code": plugin_code(node),
        }

    def _build(self, part: str, weights: bool) -> LocalizationNet:
        node, key = self.config["localization"][part]["network"], f"localization.{part}.network"
        return build_localization_net(node, self.images.class_names[1:], weights, key)

    def _make_network(self, part: str, watch: Stopwatch) -> dict[str, Any]:
        folder, node = self._folder(part), self.config["localization"][part]
        record = _read(folder / RECORD)
        written = [folder / NAME, *(folder / name for name in record.get("snapshots", []))]
        if "figures" in record and all(file.is_file() for file in written):
            log.info("%s network: reused, %s", part, self._place(folder))
        else:
            begun = (folder / "checkpoints" / "last.ckpt").is_file()
            log.info("%s network: %s, %s", part, "training resumes" if begun else "is trained", self._place(folder))
            with watch(part):
                figures = self._train(part, folder)
            snapshots = [file.relative_to(folder).as_posix() for file in snapshot_files(folder)]
            record = {"settings": node, "figures": figures, "snapshots": snapshots}
            write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return record["figures"]

    def _train(self, part: str, folder: Path) -> dict[str, Any]:
        pl.seed_everything(self.config["seed"], workers=True, verbose=False)
        network = self._build(part, weights=True)
        try:
            return train_classifier(
                network,
                self.images,
                self.labels,
                self.config["localization"][part],
                folder,
                **{key: self.config[key] for key in ("device", "precision", "seed")},
                workers=self.data.workers,
                feature_cache=self.data.feature_cache,
                loggers=build_loggers(self.config["logger"], self.run / part, self.config, f"{self.run.name}_{part}"),
            )
        finally:
            finish_wandb()

    def _announce(self) -> None:
        """Report what the missing maps cost, before networks are trained for them."""
        if missing_maps(self._folder("maps"), self.images):
            device = pick_device(self.config["device"])
            networks = [self._build(part, weights=part == "foreground").to(device).eval() for part in self.parts]
            place = (self._folder("maps"), self.images, self.labels)
            earlier = [networks[0]] * (self.config["localization"]["foreground"]["running_maximum"] or 0)
            announce_maps(*place, networks, self.map_settings, self._map_cache(networks[0]), earlier)

    def _map_cache(self, network: LocalizationNet) -> FeatureCache | None:
        """Return the cache of features from which maps are computed; None if it lacks the mirror images."""
        mirror = self.config["localization"]["foreground"]["mirror"]
        return open_cache(network, mirror, self.data.feature_cache) if mirror or not self.map_settings.mirror else None

    def _make_sources(self, watch: Stopwatch) -> dict[str, Any]:
        self._announce()
        figures = {part: self._make_network(part, watch) for part in self.parts}
        self._make_maps(watch)
        return figures

    def _make_maps(self, watch: Stopwatch) -> None:
        folder = self._folder("maps")
        missing = len(missing_maps(folder, self.images))
        if not missing:
            log.info("maps: reused, %s", self._place(folder))
            return
        log.info("maps: %d of %d are computed, %s", missing, len(self.images.names), self._place(folder))
        with watch("maps"):
            networks, cache = self._trained()
            files = snapshot_files(self._folder("foreground"))
            earlier = [load_localization(file).to(pick_device(self.config["device"])) for file in files]
            place = (folder, self.images, self.labels)
            write_maps(*place, networks, self.map_settings, self.config["workers"], cache, earlier)

    def _trained(self) -> tuple[list[LocalizationNet], FeatureCache | None]:
        """Return the trained networks, and the cache with the features of all images; see ``_map_cache``."""
        device = pick_device(self.config["device"])
        networks = [load_localization(self._folder(part) / NAME).to(device) for part in self.parts]
        cache = self._map_cache(networks[0])
        if cache is not None:
            cache.prepare(self.images.images, networks[0].features)
        return networks, cache

    def _recipe_features(self) -> Callable[[Path], np.ndarray] | None:
        """Return the reader of an image's features, on the grid; None unless the recipe needs them."""
        if "features" not in self.recipe.needs:
            return None
        networks, cache = self._trained()
        return lambda path: trunk_features(networks[0], path, self.map_settings.grid, cache)

    def _all_cues(self) -> dict[str, Cues]:
        crf, features = self._recipe_crf(), self._recipe_features()
        folder, classes = self._folder("maps"), len(self.images.class_names) - 1

        def one(item: tuple[str, Path]) -> Cues:
            name, path = item
            labels = self.labels[name]
            maps = read_maps(folder, name, labels, classes)
            if not labels:
                return Cues(labels, np.zeros(maps.highest.shape, dtype=np.uint8))
            reader = None if features is None else partial(features, path)
            inputs = CueInputs(labels, lambda: read_image(path), crf=crf, read_features=reader, **maps._asdict())
            return Cues(labels, self.recipe(inputs))

        items = list(zip(self.images.names, self.images.images, strict=True))
        return dict(zip(self.images.names, with_progress("cues", one, items, self.config["workers"]), strict=True))

    def _origin(self) -> dict[str, Any]:
        return {
            "labels": self.data.label_source(),
            "localization": self.config["localization"]["name"],
            "networks": {"background": None, **{part: self.fingerprints[part] for part in self.parts}},
            "maps": self.fingerprints["maps"],
        }


def _read(path: Path) -> dict[str, Any]:
    """Return what a record of ours holds; nothing if it is missing or damaged."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}
