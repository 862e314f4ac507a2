"""Read COCO's ``instances_*.json``, of 450 MB, as a stream: images, image-level labels, and where annotations lie."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from secseg.data.coco import CATEGORIES, COCO_CLASSES, image_number
from secseg.utils.errors import UserError, some

CHUNK = 2**20
MOST = 2**26
"""Most bytes of a single entry. The largest annotation of COCO has less than 2**20."""
SIDE = 2**15
"""Most pixels of a side of an image."""
_SPACE = re.compile(r"[ \t\n\r]*")
_IN_NUMBER = "0123456789+-.eE"
_DECODER = json.JSONDecoder()


class Entry(NamedTuple):
    """An entry of a list at the top of a JSON file, or a value at the top that is no list.

    Attributes:
        key: the key at the top.
        value: the entry.
        start, end: its bytes in the file.
    """

    key: str
    value: Any
    start: int
    end: int


class CocoImage(NamedTuple):
    """Name of the file without suffix, and the size in pixels."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Instances:
    """The content of an annotation file, without shapes.

    Attributes:
        path: the file.
        images: each image by its number.
        labels: foreground classes of each image, sorted; crowds do not count.
        starts, ends, numbers: (N,) int64, the bytes of each annotation, sorted by the number of its image, and else in
            the order of the file; and these numbers.
    """

    path: Path
    images: dict[int, CocoImage]
    labels: dict[int, tuple[int, ...]]
    starts: np.ndarray
    ends: np.ndarray
    numbers: np.ndarray

    def annotations(self, number: int) -> list[dict[str, Any]]:
        """Return the annotations of an image from the file, in its order."""
        first, last = np.searchsorted(self.numbers, (number, number + 1))
        found = []
        with self.path.open("rb") as file:
            for start, end in zip(self.starts[first:last].tolist(), self.ends[first:last].tolist(), strict=True):
                file.seek(start)
                found.append(json.loads(file.read(end - start)))
        return found


class _Stream:
    """A JSON file of which only a part is in memory. Characters are bytes, so that their numbers are offsets."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.text, self.at, self.dropped = file, "", 0, 0

    def place(self) -> int:
        return self.dropped + self.at

    def fill(self) -> bool:
        """Drop what was read, and read at least as much as is left; return whether there was more."""
        rest = self.text[self.at :]
        data = self.file.read(max(CHUNK, len(rest))) if len(rest) < MOST else b""
        self.dropped += self.at
        self.text, self.at = rest + data.decode("latin-1"), 0
        return bool(data)

    def peek(self) -> str:
        """Return the next character that is no white space; an empty text at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.fill():
                return ""

    def take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise ValueError(f"byte {self.place()}: {found!r} where one of {wanted} belongs")
        self.at += 1
        return found

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
                # Near the end of the text, a number may not be whole.
                if self.text[end : end + 1] not in _IN_NUMBER or not self.fill():
                    self.at = min(end, len(self.text))
                    return value
            except ValueError as error:
                if not self.fill():
                    raise ValueError(f"byte {self.place()}: {error}") from error
            except RecursionError as error:
                raise ValueError(f"byte {self.place()}: it is nested too deeply") from error


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """Yield the entries of the lists at the top of a JSON file, one at a time, and its other values.

    Raises:
        ValueError: if the file is not JSON with an object at the top; the message names the byte.
    """
    stream = _Stream(file)

    def entry(key: str) -> Entry:
        stream.peek()
        start = stream.place()
        value = stream.value()
        return Entry(key, value, start, stream.place())

    stream.take("{")
    more = stream.peek() != "}" or stream.take("}") != "}"
    while more:
        key = stream.value()
        if not isinstance(key, str):
            raise ValueError(f"byte {stream.place()}: {key!r} where a key belongs")
        stream.take(":")
        if stream.peek() != "[":
            yield entry(key)
        else:
            stream.take("[")
            inside = stream.peek() != "]" or stream.take("]") != "]"
            while inside:
                yield entry(key)
                inside = stream.take(",]") == ","
        more = stream.take(",}") == ","
    if rest := stream.peek():
        raise ValueError(f"byte {stream.place()}: {rest!r} after the end")


def read_instances(path: Path) -> Instances:
    """Read ``instances_train2014.json`` or ``instances_val2014.json``.

    Shapes are parsed one at a time and dropped: the memory grows with the number of the images and annotations, not
    with the polygons.

    Raises:
        UserError: if the file cannot be read, is damaged, or is not of COCO's 80 categories.
    """
    images: dict[int, CocoImage] = {}
    labels: dict[int, set[int]] = {}
    classes = {category: number for number, category in enumerate(CATEGORIES, 1)}
    categories: dict[int, str] = {}
    places = array("q"), array("q"), array("q")
    try:
        with path.open("rb") as file:
            for key, value, start, end in entries(file):
                if key == "images":
                    number, image = _image(value, start)
                    images[number] = image
                elif key == "annotations":
                    number, category, is_crowd = _annotation(value, start, classes)
                    for column, place in zip(places, (number, start, end), strict=True):
                        column.append(place)
                    if not is_crowd:
                        labels.setdefault(number, set()).add(classes[category])
                elif key == "categories":
                    categories[value["id"]] = value["name"]
    except OSError as error:
        raise UserError(f"Cannot read the annotations {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The annotations {path} are damaged, or not a file instances_<part>2014.json of COCO: {_reason(error)}."
        ) from error
    numbers, starts, ends = (np.frombuffer(column, np.int64) if column else np.empty(0, np.int64) for column in places)
    _check(path, images, categories, numbers)
    order = np.argsort(numbers, kind="stable")
    found = {number: tuple(sorted(labels.get(number, ()))) for number in sorted(images)}
    return Instances(path, images, found, starts[order], ends[order], numbers[order])


def is_instances(path: Path) -> bool:
    """Return whether a file looks like an annotation file of COCO, and not like a table of labels."""
    with path.open("rb") as file:
        return re.match(rb'\s*\{\s*"(info|images|licenses|annotations|categories|type)"', file.read(4096)) is not None


def _image(value: Any, start: int) -> tuple[int, CocoImage]:
    number, name = value["id"], PurePosixPath(value["file_name"]).stem
    if type(number) is not int or image_number(name) != number:
        raise ValueError(f"byte {start}: the image {number!r} has the file {name[:80]!r}")
    sides = value["height"], value["width"]
    if not all(type(side) is int and 0 < side < SIDE for side in sides):
        raise ValueError(f"byte {start}: the image {number} has the size {sides}")
    return number, CocoImage(name, *sides)


def _annotation(value: Any, start: int, classes: dict[int, int]) -> tuple[int, int, bool]:
    number, category, crowd = value["image_id"], value["category_id"], value["iscrowd"]
    if type(number) is not int or not 0 < number < 10**12 or type(category) is not int or crowd not in (0, 1):
        raise ValueError(f"byte {start}: image {number!r}, category {category!r}, crowd {crowd!r}")
    if category not in classes:
        raise ValueError(f"byte {start}: COCO has no category {category}")
    return number, category, bool(crowd)


def _check(path: Path, images: dict[int, CocoImage], categories: dict[int, str], numbers: np.ndarray) -> None:
    if categories != dict(zip(CATEGORIES, COCO_CLASSES[1:], strict=True)):
        raise UserError(
            f"The annotations {path} have {len(categories)} categories ({some(list(categories.values()), 5)}), not the "
            "80 of COCO. data=folder takes other data, with a table of labels."
        )
    strange = np.setdiff1d(numbers, np.fromiter(images, np.int64, len(images))).tolist()
    if strange or not images:
        raise UserError(
            f"The annotations {path} list {len(images)} images, and annotations of {len(strange)} others"
            f" ({some(strange, 5) or 'none'}). The file is not whole. Fetch it again."
        )


def _reason(error: Exception) -> str:
    return f"an entry has no {error}" if isinstance(error, KeyError) else str(error)
