"""The features of a frozen trunk on disk: computed once, and read by each later run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.transforms import evaluation_input, mirror, training_input
from secseg.models import SegmentationNet, trunk_fingerprint
from secseg.utils.checksums import verify, with_checksum
from secseg.utils.errors import UserError
from secseg.utils.files import atomic_write, check_space, user_cache
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter, timed
from secseg.utils.text import count

RESIZE: dict[str, Callable[[np.ndarray, int], Tensor]] = {"opencv": training_input, "aligned": evaluation_input}


def cache_folder(setting: str | None) -> Path | None:
    """Return the folder for ``data.feature_cache``: for None the user's cache folder, for ``off`` None."""
    return None if setting == "off" else Path(setting or user_cache() / "features").expanduser()


def attach_features(datamodule: ImageDataModule, network: SegmentationNet, input_size: int) -> None:
    """Build the samples of an opened data module for ``network``.

    If the trunk is frozen and the cache is on, compute the features that the cache does not have. The samples then
    have features instead of images.

    Raises:
        UserError: as ``FeatureCache.prepare``.
    """
    caches: tuple[FeatureCache | None, FeatureCache | None] = (None, None)
    folder = cache_folder(datamodule.feature_cache)
    if network.freeze and folder is not None:
        key = trunk_fingerprint(network)
        train = FeatureCache(folder, key, input_size, "opencv", datamodule.mirror)
        val = FeatureCache(folder, key, input_size, "aligned")
        train.prepare(datamodule.train_images.images, network.features)
        val.prepare(datamodule.val_images.images, network.features)
        caches = (train, val)
    datamodule.build_samples(input_size, network.mask_size(input_size), *caches)


class Trial(NamedTuple):
    """The features of one image, levels (M, c, h, w) float16 with M = 2 for a mirrored image; and what they cost: bytes
    of the file, and seconds."""

    levels: list[Tensor]
    size: int
    seconds: float


class FeatureCache:
    """A file for each image, with the resized image and its features in float16.

    The name of the folder identifies the trunk (weights and settings), the input size and the resizing. The name of the
    file identifies the content of the image. So a changed image or trunk gets new files, and equal images share one.

    Args:
        folder: the folder of all caches.
        fingerprint: of the trunk's weights and settings.
        input_size: side of the network's square input, pixels.
        resize: the resizing of the input, ``opencv`` in training or ``aligned`` in evaluation.
        mirror: whether the file has the features of the mirrored image, too.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        input_size: int,
        resize: Literal["opencv", "aligned"],
        mirror: bool = False,
    ) -> None:
        self.input_size, self.resize, self.mirror = input_size, resize, mirror
        variant = f"{fingerprint[:16]}-{input_size}-{resize}{'-mirror' if mirror else ''}"
        self.folder = Path(folder).expanduser() / variant
        self._entries: dict[Path, Path] = {}
        self._verified: set[Path] = set()

    def prepare(self, images: Sequence[Path], features: Callable[[Tensor], list[Tensor]]) -> None:
        """Compute the features that are missing, one image after the other. After an interruption, the next call
        continues.

        The next image is read and the last features are written while the trunk computes. It gets one image at a time:
        on a CPU this is the fastest, since the activations of one image fit into its cache.

        Args:
            images: image files.
            features: the frozen trunk: (1, 3, S, S) uint8 to a list of (1, c, h, w).

        Raises:
            UserError: if the folder cannot be written, the disk is too small, or an image cannot be read.
        """
        missing = self.missing(images)
        if not missing:
            return
        self._check_folder()
        self._check_room(missing, features)
        with ThreadPoolExecutor(1) as writer, ImageMeter("features", len(missing)) as meter:
            writing: Future[None] | None = None
            for path, image in results_of(self._read, missing, workers=1):
                levels = self._compute(image, features)
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write, path, image, levels)
                meter.update()
            if writing is not None:
                writing.result()

    def missing(self, images: Sequence[Path]) -> list[Path]:
        """Return the images that have no features yet."""
        return [path for path in images if not self._entry(path).is_file()]

    def trial(self, image: Path, features: Callable[[Tensor], list[Tensor]]) -> Trial:
        """Compute the features of an image and write nothing, to find out what they cost."""

        def compute() -> tuple[Tensor, list[Tensor]]:
            entry = self._read(image)
            return entry, self._compute(entry, features)

        (entry, levels), seconds = timed(compute)
        return Trial(levels, entry.nbytes + sum(level.nbytes for level in levels), seconds)

    def read(self, image: Path, mirrored: bool = False) -> list[Tensor]:
        """Return the features of an image: a list of (c, h, w) float16."""
        with self._open(image) as file:
            names = sorted(key for key in file.keys() if key.startswith("level"))  # noqa: SIM118 (no mapping)
            levels = [file.get_slice(key)[int(mirrored)] for key in names]
            if not levels or any(level.dtype != torch.float16 or level.ndim != 3 for level in levels):
                raise ValueError("it does not hold features (c, h, w) in half precision")
            return levels

    def read_input(self, image: Path) -> Tensor:
        """Return the resized image (3, S, S) uint8, not mirrored. It is memory-mapped: only used parts are read."""
        with self._open(image) as file:
            resized = file.get_tensor("image")
            if resized.dtype != torch.uint8 or resized.shape != (3, self.input_size, self.input_size):
                raise ValueError(f"its image is {resized.dtype} {tuple(resized.shape)}")
            return resized

    @contextmanager
    def _open(self, image: Path) -> Iterator[Any]:
        path = self._entry(image)
        try:
            if path not in self._verified:
                verify(path)
                self._verified.add(path)
            with safe_open(path, framework="pt") as file:
                yield file
        except (OSError, SafetensorError, ValueError, IndexError) as error:
            raise UserError(
                f"The cached features of {image} cannot be read: {error}. Delete {path} and start the command again."
            ) from error

    def _entry(self, image: Path) -> Path:
        if image not in self._entries:
            try:
                content = hashlib.sha256(image.read_bytes()).hexdigest()
            except OSError as error:
                raise UserError(f"Cannot read the image {image}: {error.strerror}.") from error
            self._entries[image] = self.folder / f"{content[:32]}.safetensors"
        return self._entries[image]

    def _read(self, path: Path) -> Tensor:
        return RESIZE[self.resize](read_image(path), self.input_size)

    def _compute(self, image: Tensor, features: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Return the levels as (M, c, h, w) float16; M is 2 with the mirrored image, else 1."""
        both = [features(mirror(image[None], mirrored)) for mirrored in ([False, True] if self.mirror else [False])]
        return [torch.cat([x.half().contiguous().cpu() for x in level]) for level in zip(*both, strict=True)]

    def _write(self, path: Path, image: Tensor, levels: list[Tensor]) -> None:
        entry = {"image": image.contiguous(), **{f"level{at}": level for at, level in enumerate(levels)}}
        with atomic_write(self._entry(path)) as temporary:
            temporary.write_bytes(with_checksum(save(entry)))

    def _check_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"The features cannot be written to {self.folder}: {error.strerror}. Choose another folder with "
                "data.feature_cache=<folder>, or for all caches with the environment variable SECSEG_CACHE, or "
                "compute the features in each step: data.feature_cache=off."
            ) from error

    def _check_room(self, missing: Sequence[Path], features: Callable[[Tensor], list[Tensor]]) -> None:
        one = self.trial(missing[0], features)
        check_space(
            f"The features of {count(len(missing), 'image')}",
            len(missing) * one.size,
            self.folder,
            "Choose another folder with data.feature_cache=<folder>, free some space, or train without the cache: "
            "data.feature_cache=off.",
            len(missing) * one.seconds,
        )
