"""Walk a folder of images: links are followed once, and files that no user put there are left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from secseg.data.decoding import AVIF
from secseg.utils.errors import UserError
from secseg.utils.text import count

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *((".avif",) if AVIF else ()),
)
"""Suffixes of the images in a folder, in upper or lower case."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
"""Suffixes of the images of phones."""
OTHER_SUFFIXES = (
    *HEIF_SUFFIXES,
    *(".avif", ".gif", ".jxl", ".jp2", ".j2k", ".jpx", ".jif", ".jfi", ".apng"),
    *(".tga", ".ppm", ".pgm", ".pnm", ".psd", ".svg", ".eps", ".ico", ".exr", ".hdr", ".dcm", ".fits", ".nii", ".pdf"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Suffixes of images that are not read. They are reported."""
SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "@tmp", "#snapshot", "~snapshot", "@recently-snapshot"),  # file servers
        *("__macosx", "$recycle.bin", "system volume information", "lost+found"),
    }
)
"""Folders of thumbnails and deleted files that systems make, in lower case."""


def is_image_file(name: str) -> bool:
    """Return whether a file of this name counts as an image. Hidden files do not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def is_other_image(name: str) -> bool:
    """Return whether a file of this name looks like an image of a kind that is not read."""
    return name.lower().endswith(OTHER_SUFFIXES) and not name.startswith(".") and not is_image_file(name)


def is_system_folder(name: str) -> bool:
    """Return whether a folder of this name is hidden, or made by a system."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def files_below(folder: Path, skip: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, without the folders of systems and those to ``skip``.

    Links are followed, but not to a folder that holds the link.

    Raises:
        UserError: if a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder {error.filename}: {error.strerror}.") from error

    # The real paths of each folder that is to be read, and of the folders above it.
    above: dict[str, tuple[str, ...]] = {str(folder): (os.path.realpath(folder),)}
    for place, subfolders, files in os.walk(folder, onerror=refuse, followlinks=True):
        chain = above.pop(place)
        kept = []
        for name in subfolders:
            path = os.path.join(place, name)
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(chain[-1], name)
            loops = any(one == real or one.startswith(os.path.join(real, "")) for one in chain)
            if not (loops or is_system_folder(name) or skip(Path(path))):
                kept.append(name)
                above[path] = (*chain, real)
        subfolders[:] = kept
        yield from (Path(place, name) for name in files)


def not_read_warning(paths: Collection[Path]) -> str:
    """Return a line about files that look like images and are not read."""
    kinds = Counter(path.suffix.lower() for path in paths)
    counts = ", ".join(f"{number} {suffix}" for suffix, number in kinds.most_common())
    names = ", ".join(map(str, sorted(paths)[:3])) + (", ..." if len(paths) > 3 else "")
    heif = next((path.suffix for path in sorted(paths) if path.suffix.lower() in HEIF_SUFFIXES), None)
    how = f", for example with ImageMagick in their folder: magick mogrify -format jpg '*{heif}'" if heif else ""
    return (
        f"{count(len(paths), 'file looks like an image and is', 'files look like images and are')} left out "
        f"({counts}): {names}. Convert them to JPEG or PNG{how}."
    )
