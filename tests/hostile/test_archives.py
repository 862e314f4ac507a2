"""Archives with paths outside their folder, or with wrong sizes, are refused, and nothing is written outside."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secseg.data.prepare_voc import files_in
from secseg.evaluation import predictions
from secseg.evaluation.predictions import COUNTS, MASKS, read_counts, read_predicted
from secseg.utils.errors import UserError
from tests.hostile.own_files import valid_counts
from tests.hostile.parts import IMAGES, png, put

KINDS = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


def extracted(folder: Path, content: bytes) -> dict[Path, bytes]:
    """Return the files that a caller which accepts every name would write."""
    return dict(files_in(put(folder, "voc.tar", content), lambda name, size: folder / "data" / name))


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


parts = st.sampled_from(["..", ".", "a", "b", "", "~", "C:", "\\", "JPEGImages", "x.jpg"])
paths = st.tuples(st.sampled_from(["", "/", "//"]), st.lists(parts, min_size=1, max_size=5)).map(
    lambda p: p[0] + "/".join(p[1])
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(paths, st.sampled_from(KINDS), paths)
@example("../../evil.jpg", tarfile.REGTYPE, "")
@example("/etc/evil.jpg", tarfile.REGTYPE, "")
@example("a/link", tarfile.SYMTYPE, "/etc/passwd")
@example("a/link", tarfile.LNKTYPE, "../../../etc/passwd")
def test_no_member_gets_a_target_outside_and_links_and_devices_get_none(
    folder: Path, name: str, kind: bytes, link: str
) -> None:
    try:
        found = extracted(folder, member(name, kind, 0, link) + bytes(1024))
    except UserError:
        return
    assert not found or kind == tarfile.REGTYPE
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in found if not name.startswith("/"))


@pytest.mark.parametrize(
    "content",
    [
        member("a", size=10**12),
        member("a", tarfile.GNUTYPE_LONGNAME, 10**12),
        member("a", tarfile.XHDTYPE, 10**12),
        member("a", tarfile.XGLTYPE, 2**40),
        member("a", size=-1000),
    ],
)
def test_a_member_that_claims_more_than_any_file_has_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"voc\.tar is damaged \(.* bytes; the largest file has less than"):
        extracted(tmp_path, content + bytes(1024))


def test_a_sparse_member_does_not_unpack_to_gigabytes(tmp_path: Path) -> None:
    pax = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    real = b"GNU.sparse.realsize=1000000000000"
    pax += str(len(real) + 4).encode() + b" " + real + b"\n"
    header = member("PaxHeaders/a", tarfile.XHDTYPE, len(pax)) + pax.ljust(512, b"\0")
    body = b"1\n0\n0\n".ljust(512, b"\0")
    with pytest.raises(UserError, match=r"voc\.tar is damaged"):
        extracted(tmp_path, header + member("a", size=512) + body + bytes(1024))


def test_counts_and_masks_that_unpack_to_gigabytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "LIMIT", 10**6)
    with zipfile.ZipFile(tmp_path / MASKS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("without_crf/a.png", png(tmp_path) + bytes(10**7))
    with zipfile.ZipFile(tmp_path / COUNTS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("without_crf.pixels.npy", bytes(10**7))
    assert (tmp_path / MASKS).stat().st_size < 10**5
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to 10,000,"):
            read_predicted(tmp_path, "without_crf", IMAGES)
        with pytest.raises(UserError, match="unpacks to 10,000,"):
            read_counts(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_a_few_bytes_cannot_claim_an_array_of_gigabytes(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (10**15, 3, 3)})  # type: ignore[arg-type]
    with (
        zipfile.ZipFile(io.BytesIO(valid_counts(tmp_path))) as valid,
        zipfile.ZipFile(tmp_path / COUNTS, "w") as archive,
    ):
        for name in valid.namelist():
            archive.writestr(name, file.getvalue() if name == "without_crf.pixels.npy" else valid.read(name))
    with pytest.raises(UserError, match="is damaged"):
        read_counts(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"names": np.array([{"a": 1}], object)},
        {"without_crf.pixels": np.array([print] * 6, object)},
        {"without_crf.pixels": np.full(6, -1)},
        {"without_crf.pixels": np.full(6, 0.5)},
        {"without_crf.pixels": np.ones((1, 6), int)},
        {"without_crf.cells": np.full(6, 9)},
        {"without_crf.cells": np.full(6, -1)},
        {"without_crf.starts": np.array([0, 7, 6])},
        {"without_crf.starts": np.array([0, 3, 99])},
        {"without_crf.starts": np.array([0, 6])},
        {"class_names": np.array([f"class {number}" for number in range(257)])},
        {"names": np.array(["a", "\ud800"])},
    ],
)
def test_counts_are_whole_numbers_of_the_images_and_classes_and_never_objects(
    changes: dict[str, np.ndarray], tmp_path: Path
) -> None:
    valid_counts(tmp_path)
    with np.load(tmp_path / COUNTS) as stored:
        arrays = {**stored, **changes}
    np.savez(tmp_path / COUNTS, **arrays)
    with pytest.raises(UserError, match=r"val_counts\.npz is damaged"):
        read_counts(tmp_path)


def test_a_mask_in_colours_is_reported(tmp_path: Path) -> None:
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (3, 2)).save(picture, "PNG")
    with zipfile.ZipFile(tmp_path / MASKS, "w") as archive:
        archive.writestr("without_crf/a.png", picture.getvalue())
    with pytest.raises(UserError, match="holds colours, not class numbers"):
        read_predicted(tmp_path, "without_crf", IMAGES)
