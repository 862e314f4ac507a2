"""What ``secseg.load`` returns: a trained network that predicts masks as the command predict does, from Python."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from secseg.data.images import as_pixels
from secseg.data.labels import class_numbers
from secseg.inference.predictor import Prediction, build_predictor
from secseg.models import SegmentationNet
from secseg.utils.config import compose, to_plain, using_plugins
from secseg.utils.errors import UserError, nearest
from secseg.utils.parallel import results_of
from secseg.utils.resizing import resize_aligned

Photo = str | Path | Image.Image | np.ndarray
ImageLabels = str | int | Collection[str | int]
Settings = Mapping[str, Any]


class TrainedNet(SegmentationNet):
    """A segmentation network with ``predict``. The rest is as in ``SegmentationNet``.

    Attributes:
        plugins: packages that a CRF of the user may come from (see ``secseg.load``).
    """

    plugins: Sequence[str] = ()

    def predict(
        self,
        image: Photo | Sequence[Photo],
        *,
        labels: ImageLabels | Sequence[ImageLabels | None] | None = None,
        crf: bool | Settings = True,
        inference: Settings | None = None,
        probabilities: bool = False,
    ) -> Any:
        """Predict the mask of an image, or of each image in a list, on the device of the network, without gradients.

        The masks equal those of ``python src/predict.py`` with the same settings. Images of a list are predicted in
        parallel, on a GPU in batches. Each call prepares the network anew, which takes a fraction of a second. So a
        list is faster than one call for each of its images.

        Args:
            image: a path, an image of Pillow, or an array (H, W, 3) uint8, RGB; or a list of these. Files and images of
                Pillow are rotated as their orientation tag says.
            labels: names or numbers of the classes that may be in the image, in addition to the background; None for
                all. For a list of images, a list with the labels of each image.
            crf: True for the CRF of the command, False for none; or settings of ``crf.test`` in ``conf/crf/paper.yaml``
                that shall differ: ``{"bilateral_xy": 40}``.
            inference: settings that shall differ from ``conf/inference/official.yaml``: ``{"mirror": True}``.
            probabilities: whether to return the probabilities, too.

        Returns:
            The mask (H, W) uint8 of class numbers (see ``class_names``). With ``probabilities``, a pair: the mask, and
            the probabilities (C, H, W) float32 in [0, 1] after the CRF, if there is one. Those of an image of more than
            ``inference.most_pixels`` pixels are computed at a reduced size and enlarged. For a list of images, a list.

        Raises:
            UserError: for an image that cannot be read, a label that is not a class, or a wrong setting. One such image
                ends the call.
        """
        nodes = _changed("inference", inference or {}), _changed("crf", _crf_settings(crf))
        several = isinstance(image, list | tuple)
        images = list(image) if isinstance(image, list | tuple) else [image]
        allowed = self._allowed(labels if several else [labels], len(images))
        # Pillow's images are not safe to share between threads, so they are decoded here, and files in the threads.
        inputs = (as_pixels(photo) if isinstance(photo, Image.Image) else photo for photo in images)
        with using_plugins(self.plugins), _evaluating(self):
            predictor, _ = build_predictor(self, *nodes)

            def one(item: tuple[Any, tuple[int, ...] | None]) -> Any:
                prediction = predictor(as_pixels(item[0]), item[1])
                return (prediction.mask, _full_size(prediction)) if probabilities else prediction.mask

            with closing(results_of(one, zip(inputs, allowed, strict=True))) as results:
                found = [result for _, result in results]
        return found if several else found[0]

    def _allowed(self, labels: Any, count: int) -> list[tuple[int, ...] | None]:
        """Return the numbers of the classes that may be in each of ``count`` images; None for all."""
        if labels is None:
            return [None] * count
        if not isinstance(labels, list | tuple) or len(labels) != count:
            given = f"{len(labels)} items" if isinstance(labels, list | tuple) else repr(labels)
            raise UserError(f"labels={given} for a list of {count} images: give a list with the labels of each image.")
        alone = ([str(one)] if isinstance(one, str | Integral) else one for one in labels)
        return [None if one is None else class_numbers(one, self.class_names) for one in alone]


def _crf_settings(crf: Any) -> Settings:
    if isinstance(crf, Mapping):
        return crf
    if not isinstance(crf, bool):
        raise UserError(f"crf={crf!r}: give True, False, or the settings of crf.test that shall differ, as a dict.")
    return {} if crf else {"backend": "none"}


def _changed(group: str, settings: Settings) -> dict[str, Any]:
    """Return the default node of the command predict, with other settings."""
    default, settings = _defaults()[group], to_plain(settings)
    unknown = [key for key in settings if key not in default]
    if unknown and "_target_" not in settings:  # a CRF of the user may have settings of its own
        lines = [f"{group} has no setting {key!r}.{nearest(key, default)}" for key in unknown]
        raise UserError("\n".join([*lines, f"The settings are {', '.join(default)}."]))
    return {**default, **settings}


@functools.cache
def _defaults() -> dict[str, dict[str, Any]]:
    config = compose("predict")
    return {"inference": to_plain(config.inference), "crf": to_plain(config.crf.test)}


def _full_size(prediction: Prediction) -> np.ndarray:
    probs = prediction.probs
    if probs.shape[1:] != prediction.mask.shape:
        probs = resize_aligned(probs[None], prediction.mask.shape)[0]
    return probs.numpy()


@contextmanager
def _evaluating(network: SegmentationNet) -> Iterator[None]:
    """Put the network into evaluation mode for the length of a ``with`` block."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
