"""From maps or masks that another program wrote to a cue file, in place of a classifier's maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secseg.cue_making.cue_file import CueMaker, file_digests, fingerprint
from secseg.cue_making.recipes import CueInputs
from secseg.cue_making.recipes.base import log_odds
from secseg.data.cues import Cues
from secseg.data.cues.map_files import LAYOUTS, ClassMaps, maps_of_mask, possible_layouts, read_class_maps, same_shape
from secseg.data.cues.store import resample
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import image_size, read_image
from secseg.data.splits import ImageSet
from secseg.utils.errors import UserError, listing
from secseg.utils.parallel import with_progress
from secseg.utils.progress import Stopwatch

log = logging.getLogger(__name__)

LABELS_OF_MAPS = "the classes of the maps"


class MapFolder:
    """The files of a split in one folder, or of PSA's CRF in two.

    Args:
        folders: one folder; or two with CRF files of PSA, that of the low alpha first. The first gives the classes, the
            second the background.
        images: the split; each image has a file ``<name>.npy`` or ``<name>.png``.

    Attributes:
        layout: a key of ``LAYOUTS``, by the content of the files.

    Raises:
        UserError: if files are missing, or the first ones are of no known layout.
    """

    def __init__(self, folders: Sequence[Path], images: ImageSet) -> None:
        self.folders, self.images = tuple(folders), images.for_predictions()
        suffix = ".npy" if any((folders[0] / f"{name}.npy").is_file() for name in images.names) else ".png"
        self.files = {name: [folder / f"{name}{suffix}" for folder in folders] for name in images.names}
        missing = [path for paths in self.files.values() for path in paths if not path.is_file()]
        if missing:
            other = " or .png" if suffix == ".png" and len(missing) == len(self.files) * len(folders) else ""
            raise UserError(
                f"{len(missing)} of {len(self.files)} images of {images.title} have no file of maps{other}:\n"
                f"{listing(missing)}\nGive the folder with maps=, or choose the images with data.train_split."
            )
        self.layout = "png" if suffix == ".png" else self._find_layout()
        if len(folders) == 2 and self.layout != "psa_crf":
            raise UserError(
                f"maps names two folders, which is for CRF files of PSA, but {folders[0]} holds "
                f"{LAYOUTS[self.layout]}. Give one folder."
            )

    def _find_layout(self) -> str:
        layouts: set[str] = set()
        for paths in self.files.values():
            layouts = possible_layouts(paths[0])
            if len(layouts) == 1:
                break
        return max(layouts)  # psa_crf, if all maps are those of a background

    def read(self, name: str, path: Path, grid: tuple[int, int]) -> tuple[ClassMaps, np.ndarray | None]:
        """Return the maps of the image ``name`` at ``path`` on the grid, and its mask on the grid for PNGs, else None.

        Raises:
            UserError: as ``read_class_maps`` and ``read_mask``.
        """
        size, files = image_size(path), self.files[name]
        if self.layout == "png":
            mask = self.images.read_mask(files[0])
            if not same_shape(mask.shape, size):
                raise UserError(
                    f"{files[0]} is {mask.shape[1]} x {mask.shape[0]} pixels, and its image {size[1]} x {size[0]}. A "
                    "mask shows the whole image, in its proportions or as a square."
                )
            mask = resample(mask, grid)
            return maps_of_mask(mask), mask
        low, *high = (read_class_maps(file, self.layout, self.images.class_names, size).on_grid(grid) for file in files)
        if self.layout != "psa_crf":
            return low, None
        assert low.background is not None
        background = low.background
        if high:
            assert high[0].background is not None
            background = high[0].background
            if background.sum(dtype=np.float64) > 1.01 * low.background.sum(dtype=np.float64):
                raise UserError(
                    f"The background of {files[1]} is more probable than that of {files[0]}, but a higher alpha makes "
                    f"it less probable. Give the folder of the low alpha first: maps=[{self.folders[1]},...]."
                )
        return ClassMaps(low.classes, low.maps * (low.maps > low.background), background), None


class CueImport(CueMaker):
    """Makes cues from ``config.maps``. Arguments as for ``CueMaker``.

    The labels of an image are those of the data set. If it has none of its own, they are the classes of the maps.

    Raises:
        UserError: as ``MapFolder``; if the recipe needs what the files do not have.
    """

    def __init__(self, config: Mapping[str, Any], data: ImageDataModule, out: Path, run: Path) -> None:
        super().__init__(config, data, out, run)
        self.labels = data.own_labels()
        named = [config["maps"]] if isinstance(config["maps"], str) else config["maps"]
        self.maps = MapFolder([Path(folder).expanduser() for folder in named], self.images)
        content = LAYOUTS[self.maps.layout]
        log.info("maps: %d files are %s, %s", len(self.maps.files), content, " and ".join(map(str, named)))
        if "saliency" in self.recipe.needs and self.maps.layout != "psa_crf":
            raise UserError(
                f"This cue recipe needs saliency, and {content} have none. Give cues.background=maps, or another "
                "recipe: cues=refined or cues=threshold."
            )
        if "features" in self.recipe.needs:
            raise UserError(
                "This cue recipe needs the features of the classifier's trunk, and maps= has no classifier. Give "
                "cues.affinity=colours, or another recipe: cues=refined or cues=threshold."
            )

    def _source_fingerprints(self) -> dict[str, str]:
        names = self.images.names
        files = {f"{at} {name}": self.maps.files[name][at] for at in range(len(self.maps.folders)) for name in names}
        maps = {"layout": self.maps.layout, "grid": self.map_settings.grid, "files": file_digests(files)}
        return {"maps": fingerprint(maps, self.images.class_names, self._image_digests(), self.labels)}

    def _make_sources(self, watch: Stopwatch) -> dict[str, Any]:
        return {}

    def _origin(self) -> dict[str, Any]:
        maps = {
            "layout": self.maps.layout,
            "content": LAYOUTS[self.maps.layout],
            "folders": [folder.name for folder in self.maps.folders],
            "files": len(self.maps.files) * len(self.maps.folders),
            "fingerprint": self.fingerprints["maps"],
        }
        return {"labels": LABELS_OF_MAPS if self.labels is None else self.data.label_source(), "maps": maps}

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), **self._origin(), "settings": {"cues": self.config["cues"]}}

    def _all_cues(self) -> dict[str, Cues]:
        crf = self._recipe_crf()

        def one(item: tuple[str, Path]) -> tuple[Cues, int, int]:
            name, path = item
            found, mask = self.maps.read(name, path, self.map_settings.grid)
            labels = found.classes if self.labels is None else tuple(sorted(self.labels[name]))
            known = tuple(number for number in found.classes if number in labels)
            differing = len(labels) - len(known), len(found.classes) - len(known)
            if not known:
                empty = np.zeros(self.map_settings.grid, np.uint8)
                return Cues(labels, empty if mask is None or found.classes else mask), *differing
            return Cues(labels, self.recipe(self._inputs(found, known, path, crf))), *differing

        items = list(zip(self.images.names, self.images.images, strict=True))
        results = with_progress("cues", one, items, self.config["workers"])
        lacking, extra = sum(result[1] for result in results), sum(result[2] for result in results)
        if lacking or extra:
            self.data.warn(
                [
                    f"The maps differ from {self.data.label_source()}: {lacking} labels have no map, and get no cue; "
                    f"{extra} maps are of classes that are no label of their image, and are not used."
                ]
            )
        return {name: result[0] for name, result in zip(self.images.names, results, strict=True)}

    def _inputs(self, found: ClassMaps, known: Sequence[int], path: Path, crf: Any) -> CueInputs:
        classes, grid = len(self.images.class_names) - 1, self.map_settings.grid
        maps, scores = np.zeros((classes, *grid), np.float32), np.zeros(classes, np.float32)
        for number, one in zip(found.classes, found.maps, strict=True):
            if number in known:
                maps[number - 1] = one
                scores[number - 1] = log_odds(one.max())
        saliency = None if found.background is None else 1 - found.background
        return CueInputs(tuple(known), lambda: read_image(path), maps, scores, maps.max(0), saliency, crf, shares=True)
