"""The folder of the masks: one writer at a time, one protocol. An interrupted run is continued."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from secseg.data.classes import voc_palette
from secseg.drawing.overlays import overlay
from secseg.inference.sources import InputImage
from secseg.utils.config import differences
from secseg.utils.errors import UserError, listing
from secseg.utils.files import atomic_write, locked, read_json, remove_leftovers, write_text
from secseg.utils.text import count

RECORD = "predict.json"
LOCK = ".predict.lock"
OVERLAYS, PROBABILITIES = "overlays", "probabilities"
LEVELS = 255
"""Probabilities are rounded to 0/255, 1/255, ..., 1: the error is at most 1/510."""


@dataclass(frozen=True)
class MaskFolder:
    """Paths of the files of each image: ``<name>.png``, and ``overlays/<name>.jpg`` and ``probabilities/<name>.npz`` if
    these are made."""

    path: Path
    overlays: bool = False
    probabilities: bool = False

    def mask(self, name: str) -> Path:
        return self.path / f"{name}.png"

    def overlay(self, name: str) -> Path:
        return self.path / OVERLAYS / f"{name}.jpg"

    def probs(self, name: str) -> Path:
        return self.path / PROBABILITIES / f"{name}.npz"

    def wanted(self, name: str) -> list[Path]:
        """Return all files of an image that this run makes."""
        files = [self.mask(name)]
        files += [self.overlay(name)] if self.overlays else []
        return files + ([self.probs(name)] if self.probabilities else [])

    @contextmanager
    def opened(
        self, settings: Mapping[str, Any], images: Sequence[InputImage], overwrite: bool
    ) -> Iterator[list[InputImage]]:
        """Lock the folder, and yield the images that are not done.

        An image is done if all its wanted files exist. ``predict.json`` holds the settings of the files. After a run
        with ``overwrite``, files older than ``predict.json`` do not count.

        Args:
            settings: everything that the masks depend on, as plain values.
            images: the images of this run.
            overwrite: make existing files again, one by one.

        Raises:
            UserError: if another process writes into the folder; if its files were made with other settings, which are
                listed; if it holds masks of unknown origin.
        """
        with locked(self.path, LOCK) as held:
            if held:
                for folder in {file.parent for item in images for file in self.wanted(item.name)} | {self.path}:
                    remove_leftovers(folder, (".png", ".jpg", ".npz", ".json"))
            record = None if overwrite else self._record()
            if record is None:
                found = [] if overwrite else [mask for item in images if (mask := self.mask(item.name)).exists()]
                if found:
                    raise UserError(
                        f"{self.path} holds {count(len(found), 'mask')} of these images, but no {RECORD} with their "
                        "settings:\n"
                        f"{listing(found)}\nChoose another out=, or replace them with overwrite=true."
                    )
                record = {"settings": dict(settings), "replaces_older": overwrite}
                write_text(self.path / RECORD, json.dumps(record, indent=2) + "\n")
            elif changed := differences(record["settings"], settings):
                lines = [f"{key}: {change}" for key, change in changed.items()]
                raise UserError(
                    f"The masks in {self.path} were made with other settings:\n{listing(lines, most=30)}\n"
                    "Choose another out=, or replace them with overwrite=true."
                )
            since = (self.path / RECORD).stat().st_mtime_ns if record["replaces_older"] else -1
            yield [item for item in images if not self._done(item.name, since)]

    def _done(self, name: str, since: int) -> bool:
        try:
            return all(file.stat().st_mtime_ns > since for file in self.wanted(name))
        except FileNotFoundError:
            return False

    def _record(self) -> dict[str, Any] | None:
        path = self.path / RECORD
        try:
            record = read_json(path)
            return {"settings": dict(record["settings"]), "replaces_older": bool(record["replaces_older"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read, so the settings of the masks next to it are unknown. Choose another out=, or "
                "replace them with overwrite=true."
            ) from error


def save_overlay(photo: np.ndarray, mask: np.ndarray, path: Path) -> None:
    """Write the mask (H, W) uint8 over its image (H, W, 3) uint8 as a JPEG, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(overlay(photo, mask, voc_palette())).save(temporary, format="JPEG", quality=90)


def save_probabilities(probs: Tensor, class_names: Sequence[str], path: Path) -> None:
    """Write probabilities (C, h, w) as a compressed ``.npz``, whole or not at all.

    Arrays: ``probs`` (C, h, w) uint8, 255 times the probability, rounded; and ``class_names`` (C,).
    """
    steps = (probs * LEVELS).round().clamp(0, LEVELS).byte().numpy()
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, probs=steps, class_names=np.array(class_names))


def read_probabilities(path: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the probabilities (C, h, w) float32 in [0, 1] and the class names that ``save_probabilities`` wrote. The
    error of each probability is at most 1/510.

    Raises:
        UserError: if the file is missing, damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            probs, names = file["probs"], tuple(map(str, file["class_names"]))
        if probs.dtype != np.uint8 or probs.ndim != 3 or len(names) != len(probs):
            raise ValueError(f"probabilities {probs.dtype} {probs.shape} of {len(names)} classes")
        return probs.astype(np.float32) / LEVELS, names
    except FileNotFoundError as error:
        raise UserError(f"There are no probabilities at {path}.") from error
    except Exception as error:  # NumPy raises many kinds of errors for damaged files
        raise UserError(f"{path} does not hold probabilities, or is damaged ({error}). Predict them again.") from error
