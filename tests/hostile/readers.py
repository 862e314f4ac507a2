"""All readers of files from outside, each with a small valid file, and with checks of the content that it accepts.

The property tests apply many small damages to these files. ``tests/fuzz`` does so for longer, guided by coverage.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_tensors

from secseg.data.coco_annotations import read_instances
from secseg.data.cues import Cues, CueStore, import_official
from secseg.data.cues.files import import_pngs
from secseg.data.cues.map_files import read_class_maps
from secseg.data.cues.official import read_id_list
from secseg.data.id_list import read_ids
from secseg.data.images import image_name, image_size, read_image
from secseg.data.labels import read_labels
from secseg.data.masks import read_mask
from secseg.data.prepare_voc import files_in
from secseg.utils.errors import UserError
from tests.data import coco_data
from tests.data.cues import official_pickle
from tests.hostile.own_files import (
    LAYERS,
    caffe,
    config,
    counts,
    features,
    localization,
    maps,
    masks,
    metrics,
    network,
    probabilities,
    pth,
    record,
    results,
    valid_checkpoint,
    valid_counts,
    valid_features,
    valid_localization,
    valid_maps,
    valid_masks,
    valid_model,
    valid_probabilities,
    weights,
)
from tests.hostile.parts import CLASSES, IMAGES, png, put
from tests.models import caffemodel
from tests.reference import map_files
from tests.stored_run import RESULTS


class Reader(NamedTuple):
    """A reader, as the tests call it.

    Attributes:
        name: name of the reader.
        valid: returns the content of a valid file. Its argument is a folder for temporary files.
        read: writes content into a folder, reads it, and checks the result with assertions.
    """

    name: str
    valid: Callable[[Path], bytes]
    read: Callable[[Path, bytes], None]


def check_store(store: CueStore) -> None:
    assert all(isinstance(name, str) for name in store.names)
    assert store.maps.dtype == store.labels.dtype == np.uint8
    assert len(store.names) == len(store.maps) == len(store.labels) > 0
    store.stray(store.names)
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
    exif[0x0112] = 6  # rotated
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


def vectors(_: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array({"a": np.array([1, 0], np.float32), "b": np.array([0, 1], np.float32)}))
    return file.getvalue()


def valid_coco(folder: Path) -> bytes:
    return coco_data.write_json(folder, "train", coco_data.scenes(3, seed=0)).read_bytes()


def coco(folder: Path, content: bytes) -> None:
    found = read_instances(put(folder, "instances_train2014.json", content))
    assert found.labels.keys() == found.images.keys()
    assert all(0 < number <= 80 for labels in found.labels.values() for number in labels)
    for number in found.images:
        assert all(one["image_id"] == number for one in found.annotations(number))


def class_maps(write: Callable[[Path, list[int], np.ndarray], None]) -> Callable[[Path], bytes]:
    """Return a function that returns the content of a file that ``write`` writes."""

    def valid(folder: Path) -> bytes:
        write(folder / "valid.npy", [1, 0], np.random.default_rng(0).random((2, 6, 5)).astype(np.float32))
        return (folder / "valid.npy").read_bytes()

    return valid


def read_maps_of(layout: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        found = read_class_maps(put(folder, "a.npy", content), layout, CLASSES, (6, 5))
        assert set(found.classes) <= {1, 2}
        assert found.maps.shape[0] == len(found.classes)
        assert found.maps.dtype == np.float32
        assert ((found.maps >= 0) & (found.maps <= 1)).all()
        assert found.on_grid((4, 4)).maps.shape == (len(found.classes), 4, 4)

    return read


def id_list(folder: Path, content: bytes) -> None:
    ids = read_id_list(put(folder, "input_list.txt", content))
    assert all(isinstance(number, int) and name for number, name in ids.items())
    assert len(set(ids.values())) == len(ids)


def split(folder: Path, content: bytes) -> None:
    names = read_ids(put(folder, "train.txt", content), image_name, ("a", "b", "c/d"))
    assert len({name.casefold() for name in names}) == len(names) > 0


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


CONFIG = b"name: a\nseed: 1\ndata: {root: '${oc.env:HOME}', limit: null}\nloss: &l {seed: 1.0}\nother: *l\n"
METRICS = b"epoch,step,train/loss,val/miou\n0,1,0.5,\n0,2,,0.25\n"
RESULT = json.dumps({**RESULTS, "versions": {"git": None}}).encode()

READERS = (
    Reader("official cues", valid_official, official),
    Reader("cue file", valid_store, store),
    Reader("cue PNG", png, cue_pngs),
    Reader("labels.csv", lambda _: b"image,labels\na.jpg,cat;dog\nb.jpg,\n", labels("labels.csv")),
    Reader("class columns", lambda _: b"image,cat,dog,split\na,1,0,train\nb,0,1,val\n", labels("labels.csv")),
    Reader("labels.json", lambda _: b'{"a": ["cat", 2], "b.jpg": []}', labels("labels.json")),
    Reader("labels.npy", vectors, labels("labels.npy")),
    Reader("COCO's annotations", valid_coco, coco),
    Reader("CAMs of IRN", class_maps(map_files.write_irn), read_maps_of("irn_cam")),
    Reader("CAMs of IRN, strided", class_maps(map_files.write_irn_strided), read_maps_of("irn_cam_strided")),
    Reader("CAMs of PSA", class_maps(map_files.write_psa), read_maps_of("psa_cam")),
    Reader("official id list", lambda _: official_pickle.IDS.encode(), id_list),
    Reader("split", lambda _: b"a.jpg 0\nb.jpg 1\nc/d\n", split),
    Reader("mask", png, mask),
    Reader("JPEG", jpeg, image),
    Reader("TIFF", tiff, image),
    Reader("VOC archive", lambda folder: tar(("VOCdevkit/a.jpg", "b"), b"content"), archive),
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
    """Return whether the reader accepts ``content``. If not, it has raised a UserError."""
    try:
        reader.read(folder, content)
    except UserError:
        return False
    return True
