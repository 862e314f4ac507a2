"""Read ``cls_labels.npy``, the labels that PSA, IRN and their successors share: a vector of 0 and 1 for each image."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from secseg.data.array_pickle import MAGIC, Array, load_arrays, read_header
from secseg.data.label_entries import BACKGROUND, image_finder
from secseg.data.label_rows import Naming
from secseg.utils.errors import UserError, listing
from secseg.utils.text import nfc

_TYPES = re.compile(r"O8?|[iu][1248]|f[248]|b1|U\d{1,4}|S\d{1,4}")
_FIX = "Give a dict from image to vector: np.save('labels.npy', {'2007_000032': vector, ...})."


def is_array_file(data: bytes) -> bool:
    """Return whether this is the content of a file of ``np.save``."""
    return data.startswith(MAGIC)


def read_vectors(
    path: Path, data: bytes, naming: Naming, names: Collection[str], class_names: Collection[str]
) -> dict[str, list[str]]:
    """Return the classes of each image from the content of a ``.npy`` file that holds a dict of vectors.

    A vector holds 0 or 1 for each class without background; with a 1 for the background in front, it is read, too. The
    classes are the names in ``class_names``, or else numbers from 1.

    Args:
        path: the file, for messages.
        data: its content.
        naming: maps a key to the name of an image.
        names: names of the images. A key may be their digits alone, see ``image_finder``.
        class_names: the classes, with or without background; empty if they are unknown.

    Raises:
        UserError: if the file does not hold such a dict, or asks for anything but NumPy's arrays; if vectors have
            different lengths, another number of classes, or other values than 0 and 1.
    """
    vectors = {_name(key): vector for key, vector in _checked(path, _load(path, data)).items()}
    length = len(next(iter(vectors.values())))
    classes = [name for name in class_names if name != BACKGROUND]
    first = np.stack(list(vectors.values()))[:, 0]
    skip = int(bool(classes) and length == len(classes) + 1 and bool((first == 1).all()))
    if classes and length - skip != len(classes):
        raise UserError(
            f"The vectors in {path} have {length} entries, but there are {len(classes)} classes without background: "
            f"{', '.join(classes)}. The file is of another data set, or has another order of classes."
        )
    words = classes or [str(number) for number in range(1, length + 1)]
    find, found = image_finder(naming, names), dict[str, list[str]]()
    for key, vector in vectors.items():
        if (name := find(key)) in found:
            raise UserError(f"The labels in {path} name the image {name} twice, in two forms. Remove one.")
        found[name] = [words[at] for at in np.flatnonzero(vector[skip:])]
    return found


def _load(path: Path, data: bytes) -> Mapping[Any, Any]:
    file = io.BytesIO(data)
    try:
        shape, dtype = read_header(file)
        if not dtype.hasobject:
            raise UserError(
                f"The labels in {path} are an array of shape {shape}, without the images of its rows. {_FIX}"
            )
        content = load_arrays(data[file.tell() :], _TYPES, "labels", scalars=True)
    except UserError as error:
        text = str(error)
        raise error if text.startswith("The labels") else UserError(f"The file of labels {path} {text}.") from error
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"The file of labels {path} is truncated or damaged ({error}). Fetch it again.") from error
    objects = content.objects if isinstance(content, Array) else None
    if objects is None or len(objects) != 1 or not isinstance(objects[0], dict) or not objects[0]:
        raise UserError(f"The labels in {path} are not a dict from image to vector, or an empty one. {_FIX}")
    return objects[0]


def _checked(path: Path, content: Mapping[Any, Any]) -> dict[Any, np.ndarray]:
    """Return the vectors, all of one length, of 0 and 1."""
    found, wrong = {}, []
    for key, value in content.items():
        vector = getattr(value, "value", value)
        if isinstance(vector, list) and all(isinstance(one, int | float) for one in vector):
            vector = np.array(vector)
        if not isinstance(key, int | str | bytes) or not isinstance(vector, np.ndarray) or vector.ndim != 1:
            wrong.append(f"{str(key)[:60]}: not a vector")
        elif vector.dtype.kind not in "iufb" or not np.isin(vector, (0, 1)).all():
            values = vector[~np.isin(vector, (0, 1))][:3].tolist()
            wrong.append(f"{str(key)[:60]}: {', '.join(map(str, values))}; a vector of labels holds 0 and 1")
        else:
            found[key] = vector
    lengths = sorted({len(vector) for vector in found.values()})
    if not wrong and (len(lengths) > 1 or lengths == [0]):
        wrong = [f"vectors have {', '.join(map(str, lengths[:10]))} entries; all must have one for each class"]
    if wrong:
        raise UserError(f"The labels in {path} cannot be used:\n{listing(wrong)}")
    return found


def _name(key: Any) -> str:
    return nfc(key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key))
