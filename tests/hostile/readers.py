"""Every reader of files from outside, a small valid file for each, and what has to hold of all that it accepts.

The property tests damage these files a little and often; ``tests/fuzz`` does it for longer, led by coverage.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_tensors
from scipy.io import savemat

from secseg.data.classes import VOC_CLASSES, VOID, voc_palette
from secseg.data.cue_pngs import import_pngs
from secseg.data.cue_store import Cues, CueStore, import_official
from secseg.data.feature_cache import FeatureCache
from secseg.data.images import image_size, palette_image, read_image, read_mask
from secseg.data.labels import read_labels
from secseg.data.official_cues import read_id_list
from secseg.data.photographs import name_of
from secseg.data.prepare_voc import files_in, sbd_mask
from secseg.data.voc import read_ids
from secseg.errors import UserError
from secseg.evaluation.predictions import COUNTS, MASKS, ImagePredictions, read_counts, read_predicted
from secseg.loading import load_network
from secseg.localization.files import load_localization, save_localization
from secseg.localization.map_files import read_maps
from secseg.localization.networks import build_localization_net
from secseg.model_file import write_model
from secseg.networks import SegmentationNet
from secseg.networks.caffemodel import read_caffemodel
from secseg.networks.weights import read_weights
from secseg.prediction.folder import RECORD, MaskFolder
from secseg.prediction.outputs import read_probabilities, save_probabilities
from secseg.runtime.stored import read_config, read_metrics, read_training_results
from secseg.voc_server import FOLDER, check_archive
from tests.data import official_pickle
from tests.localization.toy import NETWORK
from tests.networks import caffemodel
from tests.stored_run import RESULTS
from tests.tiny_network import BACKBONE, tiny_network, write_run

CLASSES = ("background", "cat", "dog")
IMAGES = ("a", "b")
MASK = np.array([[0, 1, 2], [255, 0, 1]], np.uint8)


class Reader(NamedTuple):
    """A reader, as the tests call it.

    Attributes:
        name: of it.
        valid: makes the content of a valid file; the folder given is for what it needs on the way.
        read: writes content into a folder, reads it, and asserts what has to hold of what was read.
    """

    name: str
    valid: Callable[[Path], bytes]
    read: Callable[[Path, bytes], None]


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def check_store(store: CueStore) -> None:
    assert all(isinstance(name, str) for name in store.names)
    assert store.maps.dtype == store.labels.dtype == np.uint8
    assert len(store.names) == len(store.maps) == len(store.labels) > 0
    store.classes_present(store.names)
    assert store[store.names[-1]].map.shape == store.grid


def valid_official(folder: Path) -> bytes:
    return official_pickle.write(folder, official_pickle.content(), "cues.pickle").read_bytes()


def official(folder: Path, content: bytes) -> None:
    put(folder, "input_list.txt", official_pickle.IDS.encode())
    check_store(import_official(put(folder, "cues.pickle", content), folder / "input_list.txt"))


def valid_store(folder: Path) -> bytes:
    maps = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (2, 5, 7))
    store = CueStore.from_dict({name: Cues((1,), one) for name, one in zip(IMAGES, maps, strict=True)}, {"source": "a"})
    store.save(folder / "cues.safetensors")
    return (folder / "cues.safetensors").read_bytes()


def store(folder: Path, content: bytes) -> None:
    check_store(CueStore.load(put(folder, "cues.safetensors", content)))


def png(_: Path, values: np.ndarray = MASK) -> bytes:
    file = io.BytesIO()
    palette_image(values, voc_palette()).save(file, "PNG")
    return file.getvalue()


def cue_pngs(folder: Path, content: bytes) -> None:
    check_store(import_pngs(put(folder, "pngs/a.png", content).parent))


def mask(folder: Path, content: bytes) -> None:
    found = read_mask(put(folder, "mask.png", content), 3)
    assert found.dtype == np.uint8
    assert found.ndim == 2
    assert set(np.unique(found)) <= {0, 1, 2, 255}


def jpeg(_: Path) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def tiff(_: Path) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(file, "TIFF")
    return file.getvalue()


def image(folder: Path, content: bytes) -> None:
    path = put(folder, "image.jpg", content)
    found = read_image(path)
    assert found.dtype == np.uint8
    assert found.shape == (*image_size(path), 3)


def labels(name: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        found = read_labels(put(folder, name, content), IMAGES, CLASSES)
        assert set(found) == set(IMAGES)
        assert all(0 < number < len(CLASSES) for numbers in found.values() for number in numbers)

    return read


def id_list(folder: Path, content: bytes) -> None:
    ids = read_id_list(put(folder, "input_list.txt", content))
    assert all(isinstance(number, int) and name for number, name in ids.items())
    assert len(set(ids.values())) == len(ids)


def split(folder: Path, content: bytes) -> None:
    names = read_ids(put(folder, "train.txt", content), name_of)
    assert len({name.casefold() for name in names}) == len(names) > 0


def sbd(_: Path, content: bytes) -> None:
    found = sbd_mask("a", content)
    assert found.dtype == np.uint8
    assert found.ndim == 2
    assert found.max(initial=0) < len(VOC_CLASSES)


def mat(_: Path) -> bytes:
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Segmentation": np.eye(5, 7, dtype=np.uint8), "CategoriesPresent": np.ones((1, 1))}})
    return file.getvalue()


def tar(names: tuple[str, ...], content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def archive(folder: Path, content: bytes) -> None:
    path = put(folder, "voc.tar", content)
    for target, data in files_in(path, lambda name, size: folder / name):
        assert target.resolve().is_relative_to(folder.resolve())
        assert isinstance(data, bytes)


def valid_server_archive(folder: Path) -> bytes:
    return tar(tuple(str(FOLDER / f"{name}.png") for name in IMAGES), png(folder, MASK % VOID))


def server_archive(folder: Path, content: bytes) -> None:
    photographs = [put(folder, f"{name}.png", png(folder)) for name in IMAGES]
    check_archive(put(folder, "results.tar", content), IMAGES, photographs)


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
    save_localization(folder / "net.safetensors", net, NETWORK)
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
    size = (len(found.names), *2 * (len(found.class_names),))
    assert all(array.shape == size and array.min(initial=0) >= 0 for array in found.by_variant.values())


def valid_masks(folder: Path) -> bytes:
    predicted(folder)
    return (folder / MASKS).read_bytes()


def masks(folder: Path, content: bytes) -> None:
    for found in read_predicted(put(folder, MASKS, content).parent, "without_crf", IMAGES).values():
        assert found.dtype == np.uint8
        assert found.ndim == 2


def cache(folder: Path) -> tuple[FeatureCache, Path]:
    photograph = put(folder, "photograph.png", png(folder))
    kept = FeatureCache(folder / "cache", "fingerprint", 9, "eval", mirror=True)
    kept.prepare([photograph], lambda images: [images[:, :, ::4, ::4].float(), images[:, :1, ::8, ::8].float()])
    return kept, photograph


def valid_features(folder: Path) -> bytes:
    kept, _ = cache(folder)
    (entry,) = kept.folder.iterdir()
    return entry.read_bytes()


def features(folder: Path, content: bytes) -> None:
    kept, photograph = cache(folder)
    (entry,) = kept.folder.iterdir()
    entry.write_bytes(content)
    assert kept.read_input(photograph).shape == (3, 9, 9)
    assert all(level.ndim == 3 for level in kept.read(photograph, mirrored=True))


def valid_maps(_: Path) -> bytes:
    arrays = {"maps": torch.rand(2, 3, 4).half(), "scores": torch.rand(2), "saliency": torch.rand(3, 4).half()}
    return save_tensors(arrays)


def maps(folder: Path, content: bytes) -> None:
    path = put(folder, "a.safetensors", content)
    own, scores, saliency = read_maps(path.parent, "a", (1, 3), 4)
    assert own.shape == (4, *saliency.shape)
    assert scores.shape == (4,)


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


CONFIG = b"name: a\nseed: 1\ndata: {root: '${oc.env:HOME}', limit: null}\nloss: &l {seed: 1.0}\nother: *l\n"
METRICS = b"epoch,step,train/loss,val/miou\n0,1,0.5,\n0,2,,0.25\n"
RESULT = json.dumps({**RESULTS, "versions": {"git": None}}).encode()
LAYERS: dict[str, Any] = {"conv1_1": [np.ones((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)]}

READERS = (
    Reader("official cues", valid_official, official),
    Reader("cue file", valid_store, store),
    Reader("cue PNG", png, cue_pngs),
    Reader("labels.csv", lambda _: b"image,labels\na.jpg,cat;dog\nb.jpg,\n", labels("labels.csv")),
    Reader("class columns", lambda _: b"image,cat,dog,split\na,1,0,train\nb,0,1,val\n", labels("labels.csv")),
    Reader("labels.json", lambda _: b'{"a": ["cat", 2], "b.jpg": []}', labels("labels.json")),
    Reader("official id list", lambda _: official_pickle.IDS.encode(), id_list),
    Reader("split", lambda _: b"a.jpg\nb.jpg\nc/d\n", split),
    Reader("mask", png, mask),
    Reader("JPEG", jpeg, image),
    Reader("TIFF", tiff, image),
    Reader("SBD mask", mat, sbd),
    Reader("VOC archive", lambda folder: tar(("VOCdevkit/a.jpg", "b"), b"content"), archive),
    Reader("server archive", valid_server_archive, server_archive),
    Reader("weights.pth", pth, weights("weights.pth")),
    Reader("weights.safetensors", lambda _: save_tensors({"a": torch.rand(2, 3)}), weights("weights.safetensors")),
    Reader("caffemodel", lambda _: caffemodel.net(LAYERS), caffe),
    Reader("checkpoint", valid_checkpoint, network("last.ckpt")),
    Reader("model", valid_model, network("model.safetensors")),
    Reader("localization network", valid_localization, localization),
    Reader("config.yaml", lambda _: CONFIG, config),
    Reader("results.json", lambda _: RESULT, results),
    Reader("metrics.csv", lambda _: METRICS, metrics),
    Reader("val_counts.npz", valid_counts, counts),
    Reader("val_masks.zip", valid_masks, masks),
    Reader("feature cache", valid_features, features),
    Reader("maps", valid_maps, maps),
    Reader("probabilities", valid_probabilities, probabilities),
    Reader("predict.json", lambda _: b'{"settings": {"crf": null}, "replaces_older": false}', record),
)


def accepts(reader: Reader, folder: Path, content: bytes) -> bool:
    """Whether the reader takes ``content``; where it does not, it has told so in words for people."""
    try:
        reader.read(folder, content)
    except UserError:
        return False
    return True
