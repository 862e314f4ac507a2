"""Files that the commands write or load as networks: a small valid file of each kind, and checks of its content."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from secseg.cue_making.classifier import build_localization_net, load_localization
from secseg.cue_making.maps import read_maps
from secseg.data.classes import VOID, voc_palette
from secseg.evaluation.predictions import COUNTS, MASKS, ImagePredictions, read_counts, read_predicted
from secseg.inference.mask_folder import RECORD, MaskFolder, read_probabilities, save_probabilities
from secseg.models import SegmentationNet
from secseg.models.files.caffemodel import read_caffemodel
from secseg.models.files.load import load_network
from secseg.models.files.model_file import write_model
from secseg.models.weights import read_weights
from secseg.runs.run_reader import read_config, read_metrics, read_training_results
from secseg.training.feature_cache import FeatureCache
from tests.cue_making.toy import NETWORK
from tests.hostile.parts import CLASSES, IMAGES, MASK, png, put
from tests.tiny_network import BACKBONE, tiny_network, write_run

LAYERS: dict[str, Any] = {"conv1_1": [np.ones((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)]}


def pth(folder: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"conv.weight": torch.rand(2, 3, 1, 1), "conv.bias": torch.rand(2)}, file)
    return file.getvalue()


def weights(name: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        for key, tensor in read_weights(put(folder, name, content)).items():
            assert isinstance(key, str)
            assert tensor.numel() * tensor.element_size() < 2**30
            tensor.sum() if tensor.numel() < 2**20 else None

    return read


def caffe(folder: Path, content: bytes) -> None:
    for name, blobs in read_caffemodel(put(folder, "net.caffemodel", content)).items():
        assert isinstance(name, str)
        assert sum(blob.nbytes for blob in blobs) <= len(content)


def network(name: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        assert isinstance(load_network(put(folder, name, content)), SegmentationNet)

    return read


def valid_checkpoint(folder: Path) -> bytes:
    return (write_run(folder / "run", CLASSES) / "checkpoints" / "last.ckpt").read_bytes()


def valid_model(folder: Path) -> bytes:
    write_model(folder / "model.safetensors", tiny_network(CLASSES), BACKBONE)
    return (folder / "model.safetensors").read_bytes()


def valid_localization(folder: Path) -> bytes:
    net = build_localization_net(NETWORK, CLASSES[1:], weights=False)
    write_model(folder / "net.safetensors", net, NETWORK)
    return (folder / "net.safetensors").read_bytes()


def localization(folder: Path, content: bytes) -> None:
    load_localization(put(folder, "net.safetensors", content))


def config(folder: Path, content: bytes) -> None:
    found = read_config(put(folder, "config.yaml", content))
    assert all(isinstance(key, str) for key in found)
    assert len(str(found)) < 2**24


def results(folder: Path, content: bytes) -> None:
    found = read_training_results(put(folder, "results.json", content))
    if found is not None:
        scores = [score for score in found["figures"].values() if score is not None]
        assert all(score["miou"] is None or 0 <= score["miou"] <= 1 for score in scores)


def metrics(folder: Path, content: bytes) -> None:
    for row in read_metrics(put(folder, "metrics.csv", content)):
        assert all(isinstance(float(cell), float) for cell in row.values())


def predicted(folder: Path) -> ImagePredictions:
    gathered = ImagePredictions(CLASSES, voc_palette())
    for name in IMAGES:
        gathered.add(name, {"without_crf": MASK % VOID, "with_crf": None}, MASK)
    gathered.write(folder)
    return gathered


def valid_counts(folder: Path) -> bytes:
    predicted(folder)
    return (folder / COUNTS).read_bytes()


def counts(folder: Path, content: bytes) -> None:
    found = read_counts(put(folder, COUNTS, content).parent)
    classes = len(found.class_names)
    for variant, sparse in found.by_variant.items():
        assert sparse.shape == (len(found.names), classes**2)
        assert found.total(variant).shape == (classes, classes)
        assert all(found.image(variant, name).min(initial=0) >= 0 for name in found.names[:3])


def valid_masks(folder: Path) -> bytes:
    predicted(folder)
    return (folder / MASKS).read_bytes()


def masks(folder: Path, content: bytes) -> None:
    for found in read_predicted(put(folder, MASKS, content).parent, "without_crf", IMAGES).values():
        assert found.dtype == np.uint8
        assert found.ndim == 2


def cache(folder: Path) -> tuple[FeatureCache, Path]:
    image = put(folder, "image.png", png(folder))
    kept = FeatureCache(folder / "cache", "fingerprint", 9, "aligned", mirror=True)
    kept.prepare([image], lambda images: [images[:, :, ::4, ::4].float(), images[:, :1, ::8, ::8].float()])
    return kept, image


def valid_features(folder: Path) -> bytes:
    kept, _ = cache(folder)
    (entry,) = kept.folder.iterdir()
    return entry.read_bytes()


def features(folder: Path, content: bytes) -> None:
    kept, image = cache(folder)
    (entry,) = kept.folder.iterdir()
    entry.write_bytes(content)
    assert kept.read_input(image).shape == (3, 9, 9)
    assert all(level.ndim == 3 for level in kept.read(image, mirrored=True))


def valid_maps(_: Path) -> bytes:
    grids = {name: torch.rand(3, 4).half() for name in ("highest", "saliency")}
    return save_tensors({"maps": torch.rand(2, 3, 4).half(), "scores": torch.rand(2), **grids})


def maps(folder: Path, content: bytes) -> None:
    path = put(folder, "a.safetensors", content)
    found = read_maps(path.parent, "a", (1, 3), 4)
    assert found.maps.shape == (4, *found.highest.shape)
    assert found.scores.shape == (4,)
    assert found.saliency is None or found.saliency.shape == found.highest.shape


def valid_probabilities(folder: Path) -> bytes:
    save_probabilities(torch.rand(3, 4, 5), CLASSES, folder / "a.npz")
    return (folder / "a.npz").read_bytes()


def probabilities(folder: Path, content: bytes) -> None:
    probs, names = read_probabilities(put(folder, "a.npz", content))
    assert probs.ndim == 3
    assert len(probs) == len(names)
    assert 0 <= probs.min(initial=0) <= probs.max(initial=0) <= 1


def record(folder: Path, content: bytes) -> None:
    put(folder, f"masks/{RECORD}", content)
    with MaskFolder(folder / "masks").opened({"crf": None}, [], overwrite=False):
        pass
