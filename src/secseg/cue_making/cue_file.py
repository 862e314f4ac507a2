"""The part of making cues that does not depend on where the maps come from: the cue file, and what it states.

The output folder holds::

    cues/<fingerprint>.safetensors    cues, and a copy of the current ones in cues.safetensors

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
import torch

import secseg
from secseg.crf import CRF, build_stage_crf
from secseg.cue_making.maps import MapSettings
from secseg.cue_making.recipes import MAP_KEYS, build_recipe, recipe_node
from secseg.data.cues import Cues, CueStore
from secseg.data.datamodule import ImageDataModule
from secseg.data.transforms import crf_image, evaluation_input
from secseg.utils.config import PACKAGES, find, flatten
from secseg.utils.errors import UserError
from secseg.utils.files import WRITTEN, atomic_write, remove_leftovers, sha256
from secseg.utils.parallel import results_of
from secseg.utils.progress import Stopwatch
from secseg.utils.text import size_text

log = logging.getLogger(__name__)

CUES = "cues.safetensors"
FOLDERS = ("networks", "maps", "cues")
_FINGERPRINT = re.compile("[0-9a-f]{16}")


class CueMaker:
    """Makes the cues of one data set. A subclass gives the maps.

    Args:
        config: ``conf/make_cues.yaml``, composed, plain and checked.
        data: opened with ``open_train``.
        out: the output folder.
        run: the run folder, for the loggers.
    """

    def __init__(self, config: Mapping[str, Any], data: ImageDataModule, out: Path, run: Path) -> None:
        self.config, self.data, self.out, self.run = config, data, out, run
        self.images = data.train_images
        self.recipe = build_recipe(config["cues"])
        scales, mirror, grid = (config["cues"][key] for key in MAP_KEYS)
        self.map_settings = MapSettings(scales, mirror, (grid, grid))

    def check(self) -> None:
        """Check the settings, and that no cue file of someone else lies in the output folder."""
        cues = self.out / CUES
        if cues.exists() and not any(filecmp.cmp(file, cues, False) for file in (self.out / "cues").glob("*")):
            raise UserError(
                f"{cues} was not written by make_cues into this folder, or was changed since. It would be overwritten: "
                "move it away, or choose another folder with out=."
            )

    def make(self, watch: Stopwatch) -> dict[str, Any]:
        """Make the cues, timing each part that is computed; return the figures of ``train_classifier`` for each network
        that was needed.

        Only one process may do so at a time in the output folder.
        """
        for name in FOLDERS:
            for folder in (self.out / name).glob("**/"):
                remove_leftovers(folder, WRITTEN)
        figures = self._make_sources(watch)
        self._make_cues(watch)
        self._report_unused()
        return figures

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of the cues, ``cues``, and of each result that they are made from, by name."""
        prints = self._source_fingerprints()
        cues = {"recipe": recipe_node(self.config["cues"]), "crf": self.crf_node()}
        return {**prints, "cues": fingerprint(cues, plugin_code(cues), prints["maps"])}

    def _source_fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of the maps, ``maps``, and of what they are made from, by name. That of the maps
        depends on the images and labels, too."""
        raise NotImplementedError

    def _make_sources(self, watch: Stopwatch) -> dict[str, Any]:
        """Make what the cues are made from; return the figures of ``make``."""
        raise NotImplementedError

    def _all_cues(self) -> dict[str, Cues]:
        """Return the cues of each image."""
        raise NotImplementedError

    def _origin(self) -> dict[str, Any]:
        """Return what a cue file states of its maps and labels."""
        raise NotImplementedError

    def protocol(self) -> dict[str, Any]:
        """Return what the figures of the cues have to state."""
        return {
            "classes": list(self.images.class_names),
            "out": self.out,
            "fingerprints": self.fingerprints,
            "crf": self.crf_node(),
        }

    def _image_digests(self) -> dict[str, str]:
        return file_digests(dict(zip(self.images.names, self.images.images, strict=True)))

    def _recipe_crf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        """Return the CRF of the recipe, as ``CueInputs`` has it."""
        crf = build_stage_crf(self.config["crf"]["train"]) if "crf" in self.recipe.needs else None
        return None if crf is None else on_maps(crf, self._input_size)

    def crf_node(self) -> dict[str, Any] | None:
        """Return the settings of the CRF that the recipe uses; None if it does not use any."""
        if "crf" not in self.recipe.needs:
            return None
        node = {key: value for key, value in self.config["crf"]["train"].items() if key != "gradient"}
        return {**node, "input_size": self._input_size}

    @property
    def _input_size(self) -> int:
        return self.config["localization"]["foreground"]["network"]["input_size"]

    def _place(self, path: Path) -> Path:
        return path.relative_to(self.out)

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

    def _provenance(self) -> dict[str, Any]:
        """Return what a cue file states of how it was made."""
        return {
            "source": "secseg make_cues",
            "data": self.images.title,
            "class_names": list(self.images.class_names),
            "cues": dict(self.config["cues"]),
            "crf": self.crf_node(),
            "secseg": secseg.__version__,
            **self._origin(),
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


def _is_whole(path: Path) -> bool:
    try:
        CueStore.load(path)
    except UserError:
        return False
    return True
