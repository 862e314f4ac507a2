"""Localization cues of many images in one memory-mapped file: one map per image, one class per grid cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from secseg.data.classes import VOID
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError, listing, nearest
from secseg.utils.files import atomic_write, neighbours
from secseg.utils.text import count, nfc

FORMAT = "secseg.cues"


@dataclass(frozen=True)
class Cues:
    """The cues of one image.

    Attributes:
        labels: foreground classes of the image, sorted.
        map: (h, w) uint8, the class of each grid cell, 0 = background, 255 = no cue.
    """

    labels: tuple[int, ...]
    map: np.ndarray


class CueStore:
    """The cues of many images on one grid, by image id.

    Args:
        names: image ids, unique.
        maps: (N, h, w) uint8, the class of each grid cell, 255 = no cue.
        labels: (N, k) uint8, the foreground classes of each image, sorted, padded with 255.
        provenance: how the cues were made; any values that JSON can hold.
    """

    def __init__(
        self, names: Sequence[str], maps: np.ndarray, labels: np.ndarray, provenance: Mapping[str, Any]
    ) -> None:
        self.names = tuple(names)
        self.maps = maps
        self.labels = labels
        self.provenance = dict(provenance)
        self._index = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def from_dict(cls, cues: Mapping[str, Cues], provenance: Mapping[str, Any]) -> CueStore:
        """Put the cues of single images, at least one, into a store.

        Raises:
            UserError: if a map is not (h, w) uint8 on the grid of the others, or contains a class that is not among the
                image's labels; if a label is outside 1..254; if two names differ only in their Unicode form.
        """
        grid = next(iter(cues.values())).map.shape
        odd = [
            f"{name}: {entry.map.dtype} {entry.map.shape}"
            for name, entry in cues.items()
            if entry.map.dtype != np.uint8 or entry.map.shape != grid or entry.map.ndim != 2
        ]
        if odd:
            raise UserError(f"These cue maps are not uint8 on one (h, w) grid, here {grid}:\n{listing(odd)}")
        if alike := [name for name in cues if nfc(name) != name and nfc(name) in cues]:
            raise UserError(
                f"The names of these images differ only in their Unicode form; rename them:\n{listing(alike)}"
            )
        cues = {nfc(name): entry for name, entry in cues.items()}
        own = {name: sorted(entry.labels) for name, entry in cues.items()}
        wrong = [f"{name}: {row}" for name, row in own.items() if row and not 0 < row[0] <= row[-1] < VOID]
        if wrong:
            raise UserError(f"Labels are foreground class numbers from 1 to 254; these are not:\n{listing(wrong)}")
        labels = np.full((len(own), max(1, max(map(len, own.values())))), VOID, dtype=np.uint8)
        for padded, row in zip(labels, own.values(), strict=True):
            padded[: len(row)] = row
        store = cls(tuple(cues), np.stack([entry.map for entry in cues.values()]), labels, provenance)
        if lines := class_lines(store.names, store.stray(store.names)):
            raise UserError(f"These maps contain a class that is not among the image's labels:\n{listing(lines)}")
        return store

    @classmethod
    def load(cls, path: str | Path) -> CueStore:
        """Open a cue file. The maps stay on disk until they are read.

        Raises:
            UserError: if the file is missing, damaged or not a cue file.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"The cue file {path} does not exist.{neighbours(path)}")
        try:
            verify(path)
            with safe_open(path, framework="numpy") as file:  # checks the header and the file's length
                header = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
                tensors = set(file.keys())
            if not header or tensors != {"maps", "labels"}:
                content = ", ".join(sorted(tensors)) or "nothing"
                raise UserError(
                    f"{path} is a safetensors file, but not a cue file: it contains {content}. "
                    "Give a file written by make_cues.py or the official localization_cues.pickle."
                )
            names, provenance = tuple(header["names"]), dict(header["provenance"])
            if not all(isinstance(name, str) for name in names):
                raise TypeError("the name of an image is not text")
            names = tuple(map(nfc, names))
            "".join(names).encode()  # file names do not contain halves of characters
            maps, labels = _map_tensor(path, "maps"), np.array(_map_tensor(path, "labels"))
            fitting = maps.ndim == 3 and labels.ndim == 2 and len(set(names)) == len(names) == len(maps) == len(labels)
            if not fitting or not maps.size:
                raise ValueError(f"{len(names)} names, maps {maps.shape}, labels {labels.shape}")
        except UserError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f"The cue file {path} is damaged ({error}). Make or download it again.") from error
        return cls(names, maps, labels, provenance)

    def save(self, path: str | Path) -> None:
        """Write the store as one safetensors file; errors as ``atomic_write``."""
        # safetensors writes several entries in any order. With one entry, equal cues make equal bytes.
        header = {"names": self.names, "provenance": self.provenance}
        metadata = {FORMAT: json.dumps(header, sort_keys=True)}
        arrays = {"maps": np.ascontiguousarray(self.maps), "labels": np.ascontiguousarray(self.labels)}
        with atomic_write(path) as temporary:
            temporary.write_bytes(with_checksum(save(arrays, metadata)))

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.maps.shape[1], self.maps.shape[2]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __getitem__(self, name: str) -> Cues:
        """Return the cues of one image.

        Raises:
            UserError: if the store does not have the image.
        """
        if name not in self._index:
            raise UserError(f"The cue file has no cues for the image {name!r}.{nearest(name, self.names)}")
        number = self._index[name]
        row = self.labels[number]
        return Cues(tuple(int(label) for label in row[row != VOID]), np.array(self.maps[number]))

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Return the positions of ``names`` in the store: (len(names),) integers.

        Raises:
            UserError: with all names that the store does not have.
        """
        missing = [name for name in names if name not in self._index]
        if missing:
            raise UserError(
                f"The cue file has no cues for {len(missing)} of {count(len(names), 'image')}:\n{listing(missing)}"
            )
        return np.array([self._index[name] for name in names], dtype=np.intp)

    def class_counts(self, names: Sequence[str]) -> np.ndarray:
        """Return how many cells of each map have each class: (len(names), 256) int32; column 255 is no cue."""
        counts = [np.bincount(self.maps[row].reshape(-1), minlength=256) for row in self.rows(names)]
        return np.array(counts, dtype=np.int32).reshape(-1, 256)

    def labelled(self, names: Sequence[str]) -> np.ndarray:
        """Return whether each class is among the labels of each image: (len(names), 256) bool."""
        labels = self.labels[self.rows(names)]
        labelled = np.zeros((len(labels), 256), dtype=bool)
        labelled[np.arange(len(labels))[:, None], labels] = True
        labelled[:, VOID] = False
        return labelled

    def stray(self, names: Sequence[str]) -> np.ndarray:
        """Return which foreground classes a map contains, but the labels do not: (len(names), 256) bool."""
        stray = (self.class_counts(names) > 0) & ~self.labelled(names)
        stray[:, [0, VOID]] = False
        return stray


def class_lines(names: Sequence[str], wrong: np.ndarray) -> list[str]:
    """Return a line for each image with wrong classes, (len(names), 256) bool, for messages."""
    rows = np.flatnonzero(wrong.any(axis=1)).tolist()
    return [f"{names[row]}: class {', '.join(map(str, np.flatnonzero(wrong[row])))}" for row in rows]


def join_cues(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return one class for each grid cell: (h, w) uint8, 0 = background, 255 = no cue.

    Foreground wins over background. Of several classes, the one with the smaller region wins, measured before any
    conflict is resolved; of equal regions, the one with the smaller number.

    Args:
        foreground: (K, h, w) bool, cues of the classes 1 to K.
        background: (h, w) bool.

    Source: background loses in the official cue file; a public port lets the smaller region win.
    """
    cues = np.where(background, 0, VOID).astype(np.uint8)
    present = np.flatnonzero(foreground.any((1, 2)))
    for at in sorted(present.tolist(), key=lambda at: (-foreground[at].sum(), -at)):
        cues[foreground[at]] = at + 1  # the last one wins
    return cues


def resample(cue_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a cue map (h, w) uint8 to another grid: nearest cell, aligned corners; 255 stays 255."""
    rows, columns = (_nearest_index(old, new) for old, new in zip(cue_map.shape, size, strict=True))
    return cue_map[rows[:, None], columns]


def _nearest_index(old: int, new: int) -> np.ndarray:
    steps = max(new - 1, 1)
    return (2 * np.arange(new) * (old - 1) + steps) // (2 * steps)  # in integers, without rounding errors


def _map_tensor(path: Path, name: str) -> np.ndarray:
    """Memory-map one uint8 tensor of a safetensors file (8 bytes of header length, JSON header, data)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    if entry["dtype"] != "U8":
        raise ValueError(f"{name} is {entry['dtype']}, not U8")
    shape = tuple(entry["shape"])
    if 0 in shape:
        return np.empty(shape, dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length + entry["data_offsets"][0], shape=shape)
