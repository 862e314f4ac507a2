"""From labels to a cue file: networks, maps and cues, each kept under a fingerprint of what it was made from.

The output folder holds::

    networks/<fingerprint>/network.safetensors    a trained network; network.json has its settings and figures
    maps/<fingerprint>/<image>.safetensors        the maps of each image
    cues/<fingerprint>.safetensors                cues, and a copy of the current ones in cues.safetensors

What is there under its fingerprint is used, what is missing is computed. Results are never deleted or overwritten. The
exception is ``cues.safetensors``, which is replaced if it equals one of the files in ``cues/``.
"""

from __future__ import annotations

import filecmp
import hashlib
import inspect
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

import secseg
from secseg.crf import CRF, build_stage_crf
from secseg.cue_making.classifier import LocalizationNet, build_localization_net, load_localization
from secseg.cue_making.maps import MapSettings, missing_maps, read_maps, write_maps
from secseg.cue_making.plan import announce_maps
from secseg.cue_making.recipes import MAP_KEYS, CueInputs, build_recipe, recipe_node
from secseg.cue_making.training import NAME, open_cache, train_classifier
from secseg.data.cues import Cues, CueStore
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.transforms import crf_image, evaluation_input
from secseg.runs.loggers import build_loggers
from secseg.runs.wandb_logger import finish_wandb
from secseg.training.feature_cache import FeatureCache
from secseg.utils.config import PACKAGES, find, flatten
from secseg.utils.device import pick_device
from secseg.utils.errors import UserError
from secseg.utils.files import WRITTEN, atomic_write, read_json, remove_leftovers, sha256, write_text
from secseg.utils.parallel import results_of, with_progress
from secseg.utils.progress import Stopwatch
from secseg.utils.text import size_text

log = logging.getLogger(__name__)

CUES = "cues.safetensors"
RECORD = "network.json"
FOLDERS = ("networks", "maps", "cues")
_FINGERPRINT = re.compile("[0-9a-f]{16}")


class Pipeline:
    """Makes the cues of one data set.

    Args:
        config: ``conf/make_cues.yaml``, composed, plain and checked.
        data: opened with ``open_train``.
        out: the output folder.
        run: the run folder, for the loggers.
    """

    def __init__(self, config: Mapping[str, Any], data: ImageDataModule, out: Path, run: Path) -> None:
        self.config, self.data, self.out, self.run = config, data, out, run
        self.images, self.labels = data.train_images, data.image_labels()
        self.recipe = build_recipe(config["cues"])
        scales, mirror, grid = (config["cues"][key] for key in MAP_KEYS)
        self.map_settings = MapSettings(scales, mirror, (grid, grid))
        self.parts = ("foreground", "background") if "saliency" in self.recipe.needs else ("foreground",)

    def check(self) -> None:
        """Check the settings of the networks, and that no cue file of someone else lies in the output folder."""
        for part in self.parts:
            with torch.device("meta"):
                self._build(part, weights=False)
        cues = self.out / CUES
        if cues.exists() and not any(filecmp.cmp(file, cues, False) for file in (self.out / "cues").glob("*")):
            raise UserError(
                f"{cues} was not written by make_cues into this folder, or was changed since. It would be overwritten: "
                "move it away, or choose another folder with out=."
            )

    def make(self, watch: Stopwatch) -> dict[str, Any]:
        """Make the cues, timing each part that is computed; return what ``train_classifier`` returned for each network.

        Only one process may do so at a time in the output folder.
        """
        for name in FOLDERS:
            for folder in (self.out / name).glob("**/"):
                remove_leftovers(folder, WRITTEN)
        self._announce()
        figures = {part: self._make_network(part, watch) for part in self.parts}
        self._make_maps(watch)
        self._make_cues(watch)
        self._report_unused()
        return figures

    def protocol(self) -> dict[str, Any]:
        """Return what the figures of the cues have to state."""
        keys = ("localization", "cues", "seed", "precision", "device")
        return {
            "labels": self.data.label_source(),
            "classes": list(self.images.class_names),
            "out": self.out,
            "fingerprints": self.fingerprints,
            "settings": {key: self.config[key] for key in keys},
            "crf": self.crf_node(),
        }

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each network, of the maps and of the cues, by name."""
        images = file_digests(dict(zip(self.images.names, self.images.images, strict=True)))
        data = {"classes": self.images.class_names, "images": images, "labels": self.labels}
        prints = {part: fingerprint(self._network_inputs(part), data) for part in self.parts}
        cues = {"recipe": recipe_node(self.config["cues"]), "crf": self.crf_node()}
        prints["maps"] = fingerprint({key: self.config["cues"][key] for key in MAP_KEYS}, prints)
        prints["cues"] = fingerprint(cues, plugin_code(cues), prints["maps"])
        return prints

    def crf_node(self) -> dict[str, Any] | None:
        """Return the settings of the CRF that the recipe uses; None if it does not use any."""
        if "crf" not in self.recipe.needs:
            return None
        node = {key: value for key, value in self.config["crf"]["train"].items() if key != "gradient"}
        return {**node, "input_size": self._input_size}

    @property
    def _input_size(self) -> int:
        return self.config["localization"]["foreground"]["network"]["input_size"]

    def _folder(self, name: str) -> Path:
        return self.out / ("maps" if name == "maps" else "networks") / self.fingerprints[name]

    def _place(self, path: Path) -> Path:
        return path.relative_to(self.out)

    def _network_inputs(self, part: str) -> dict[str, Any]:
        node = self.config["localization"][part]
        weights = node["network"]["trunk"].get("weights")
        file = None if weights is None else Path(str(weights)).expanduser()
        return {
            "settings": node,
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
        if "figures" in record and (folder / NAME).is_file():
            log.info("%s network: reused, %s", part, self._place(folder))
        else:
            begun = (folder / "checkpoints" / "last.ckpt").is_file()
            log.info("%s network: %s, %s", part, "training resumes" if begun else "is trained", self._place(folder))
            with watch(part):
                record = {"settings": node, "figures": self._train(part, folder)}
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
            announce_maps(*place, networks, self.map_settings, self._map_cache(networks[0]))

    def _map_cache(self, network: LocalizationNet) -> FeatureCache | None:
        """Return the cache of features from which maps are computed; None if it lacks the mirror images."""
        mirror = self.config["localization"]["foreground"]["mirror"]
        return open_cache(network, mirror, self.data.feature_cache) if mirror or not self.map_settings.mirror else None

    def _make_maps(self, watch: Stopwatch) -> None:
        folder = self._folder("maps")
        missing = len(missing_maps(folder, self.images))
        if not missing:
            log.info("maps: reused, %s", self._place(folder))
            return
        log.info("maps: %d of %d are computed, %s", missing, len(self.images.names), self._place(folder))
        with watch("maps"):
            device = pick_device(self.config["device"])
            networks = [load_localization(self._folder(part) / NAME).to(device) for part in self.parts]
            cache = self._map_cache(networks[0])
            if cache is not None:
                cache.prepare(self.images.images, networks[0].features)
            workers = self.config["workers"]
            write_maps(folder, self.images, self.labels, networks, self.map_settings, workers, cache)

    def _make_cues(self, watch: Stopwatch) -> None:
        file = self.out / "cues" / f"{self.fingerprints['cues']}.safetensors"
        if _is_whole(file):
            log.info("cues: reused, %s", self._place(file))
        else:
            log.info("cues: are made, %s", self._place(file))
            with watch("cues"):
                CueStore.from_dict(self._all_cues(), self._provenance()).save(file)
        if not (self.out / CUES).is_file() or not filecmp.cmp(file, self.out / CUES, False):
            with atomic_write(self.out / CUES) as temporary:
                shutil.copyfile(file, temporary)

    def _all_cues(self) -> dict[str, Cues]:
        crf = build_stage_crf(self.config["crf"]["train"]) if "crf" in self.recipe.needs else None
        on_grid = None if crf is None else on_maps(crf, self._input_size)
        folder, classes = self._folder("maps"), len(self.images.class_names) - 1

        def one(item: tuple[str, Path]) -> Cues:
            name, path = item
            labels = self.labels[name]
            maps = read_maps(folder, name, labels, classes)
            if not labels:
                return Cues(labels, np.zeros(maps.highest.shape, dtype=np.uint8))
            inputs = CueInputs(labels, lambda: read_image(path), crf=on_grid, **maps._asdict())
            return Cues(labels, self.recipe(inputs))

        items = list(zip(self.images.names, self.images.images, strict=True))
        return dict(zip(self.images.names, with_progress("cues", one, items, self.config["workers"]), strict=True))

    def _provenance(self) -> dict[str, Any]:
        """Return what a cue file states of how it was made."""
        return {
            "source": "secseg make_cues",
            "data": self.images.title,
            "labels": self.data.label_source(),
            "class_names": list(self.images.class_names),
            "localization": self.config["localization"]["name"],
            "networks": {"background": None, **{part: self.fingerprints[part] for part in self.parts}},
            "cues": dict(self.config["cues"]),
            "crf": self.crf_node(),
            "secseg": secseg.__version__,
        }

    def _report_unused(self) -> None:
        """Report networks, maps and cues of other settings, which take space."""
        used = set(self.fingerprints.values())
        places = [place for name in FOLDERS for place in (self.out / name).glob("*")]
        unused = [place for place in places if _FINGERPRINT.fullmatch(place.stem) and place.stem not in used]
        size = sum(file.stat().st_size for place in unused for file in [place, *place.rglob("*")] if file.is_file())
        if unused:
            log.info(
                "%d networks, maps and cues of other settings take %s in %s and may be deleted: %s",
                *(
                    len(unused),
                    size_text(size),
                    self.out,
                    ", ".join(str(place.relative_to(self.out)) for place in unused),
                ),
            )


def fingerprint(*values: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of values that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the first 32 digits of the SHA-256 of each file's content; a file that cannot be read is a UserError."""

    def one(name: str) -> str:
        try:
            return sha256(files[name])[:32]
        except OSError as error:
            raise UserError(f"Cannot read {files[name]}: {error.strerror}.") from error

    return dict(results_of(one, files))


def plugin_code(node: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of the source file of each class that ``node`` names and that a plugin defines.

    So a class of the user's own that was edited has another fingerprint. Files that it imports are not considered.
    """
    named = {str(value) for key, value in flatten(node).items() if key.endswith("_target_") and value}
    plugins = [target for target in named if target.partition(".")[0] not in PACKAGES]
    return {target: sha256(inspect.getfile(find(target, object))) for target in plugins}


def on_maps(crf: CRF, input_size: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the CRF as recipes call it: scores (C, h, w) and the image (H, W, 3) to probabilities (C, h, w).

    The image is brought to the grid of the scores as in training, by way of the network's input of ``input_size``.
    """

    def probabilities(scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        size = (scores.shape[1], scores.shape[2])
        small = crf_image(evaluation_input(image, input_size)[None], size)
        with torch.no_grad():
            return crf(torch.from_numpy(scores)[None], small)[0].numpy()

    return probabilities


def _read(path: Path) -> dict[str, Any]:
    """Return what a record of ours holds; nothing if it is missing or damaged."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _is_whole(path: Path) -> bool:
    try:
        CueStore.load(path)
    except UserError:
        return False
    return True
