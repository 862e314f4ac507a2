"""VOC with SegmentationAug from small archives in the real layouts, however often the work is interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets.utils
from PIL import Image
from scipy.io import savemat

from secseg.cli.prepare_voc import main
from secseg.data import prepare_voc
from secseg.data.classes import voc_palette
from secseg.data.cues import Cues, CueStore
from secseg.data.masks import read_mask
from secseg.data.prepare_voc import Archive, Sources, fetch, official_sources, prepare
from secseg.data.voc import open_split
from secseg.utils.errors import UserError

TRAIN = ("2007_000032", "2007_000039")
SBD_ONLY = ("2008_000002", "2008_000003", "2008_000007")
VAL = ("2007_000033",)
SIZE = (12, 17)


def mask(name: str, void: bool) -> np.ndarray:
    """VOC's masks have void borders, SBD's have not, and they differ elsewhere too."""
    rng = np.random.default_rng([int(part) for part in name.split("_")] + [void])
    values = rng.integers(0, 21, SIZE, dtype=np.uint8)
    if void:
        values[0] = 255
    return values


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def png(values: np.ndarray) -> bytes:
    image = Image.fromarray(values)
    image.putpalette(voc_palette().reshape(-1).tolist())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(file, "JPEG")
    return file.getvalue()


def mat(values: np.ndarray) -> bytes:
    """A file of SBD's ``cls`` folder: a struct GTcls with Boundaries, Segmentation and CategoriesPresent."""
    boundaries = np.empty((20, 1), dtype=object)
    for number in range(20):
        boundaries[number, 0] = np.zeros(SIZE)
    present = np.unique(values[values > 0])[:, None]
    file = io.BytesIO()
    truth = {"Boundaries": boundaries, "Segmentation": values, "CategoriesPresent": present}
    savemat(file, {"GTcls": truth}, do_compression=True)
    return file.getvalue()


def write_voc(path: Path) -> None:
    top = "VOCdevkit/VOC2012"
    with tarfile.open(path, "w") as tar:
        for split, names in (("train", TRAIN), ("val", VAL)):
            add(tar, f"{top}/ImageSets/Segmentation/{split}.txt", "".join(f"{name}\n" for name in names).encode())
        for name in (*TRAIN, *SBD_ONLY, *VAL, "2009_000001"):
            add(tar, f"{top}/JPEGImages/{name}.jpg", jpeg())
            add(tar, f"{top}/Annotations/{name}.xml", b"<annotation/>")
        for name in (*TRAIN, *VAL):
            add(tar, f"{top}/SegmentationClass/{name}.png", png(mask(name, void=True)))


def write_sbd(path: Path, without: str = "", **changed: bytes) -> None:
    top = "benchmark_RELEASE/dataset"
    names = (TRAIN[0], *SBD_ONLY, *VAL)
    with tarfile.open(path, "w:gz") as tar:
        add(tar, f"{top}/train.txt", "\n".join(names[:3]).encode())
        add(tar, f"{top}/val.txt", "\n".join(names[3:]).encode())
        for name in names:
            add(tar, f"{top}/img/{name}.jpg", jpeg())
            add(tar, f"{top}/inst/{name}.mat", b"another struct")
            if name != without:
                add(tar, f"{top}/cls/{name}.mat", changed.get(f"m{name}", mat(mask(name, void=False))))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def sources(folder: Path) -> Sources:
    names = ("VOCtrainval_11-May-2012.tar", "benchmark.tgz")
    voc, sbd = (Archive(name, f"https://voc.invalid/{name}", name, md5(folder / name)) for name in names)
    return Sources(voc, sbd, TRAIN, TRAIN + SBD_ONLY, VAL)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder with both archives."""
    folder = tmp_path / "web"
    folder.mkdir()
    write_voc(folder / "VOCtrainval_11-May-2012.tar")
    write_sbd(folder / "benchmark.tgz")
    return folder


def test_archives_become_a_whole_data_set(tmp_path: Path, web: Path) -> None:
    folder = prepare(tmp_path / "voc", web, sources=sources(web))
    assert folder == tmp_path / "voc" / "VOCdevkit" / "VOC2012"
    train = open_split(tmp_path / "voc", "train_aug", require_masks=True)
    assert train.names == TRAIN + SBD_ONLY
    assert train.masks is not None
    for name, path in zip(train.names, train.masks, strict=True):
        assert path.parent.name == "SegmentationClassAug"
        # VOC's own mask, void and all, wins over the one that SBD has of the same image.
        np.testing.assert_array_equal(read_mask(path, 21), mask(name, void=name in TRAIN))
        with Image.open(path) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[read_mask(path, 21)])
    assert open_split(folder, "val", require_masks=True).names == VAL
    np.testing.assert_array_equal(read_mask(folder / f"SegmentationClassAug/{VAL[0]}.png", 21), mask(VAL[0], void=True))
    assert not (folder / "Annotations").exists()


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("after", range(0, 18, 2))
def test_work_interrupted_at_any_file_is_finished_by_a_second_run(
    tmp_path: Path, web: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(tmp_path / "whole", web, sources=sources(web))
    count = 0

    class Interrupting(type(tmp_path)):  # type: ignore[misc]
        def replace(self, target: Any) -> Any:
            nonlocal count
            count += 1
            if count > after:
                raise KeyboardInterrupt
            return super().replace(target)

    with monkeypatch.context() as patch:
        patch.setattr("secseg.utils.files.Path", Interrupting)
        try:
            prepare(tmp_path / "voc", web, sources=sources(web))
        except KeyboardInterrupt:
            pass
        else:
            assert 0 < count <= after
    before = contents(tmp_path / "voc")
    prepare(tmp_path / "voc", web, sources=sources(web))
    now = contents(tmp_path / "voc")
    expected = {f"VOCdevkit/VOC2012/{name}": data for name, (data, _) in contents(whole).items()}
    assert {name: data for name, (data, _) in now.items()} == expected
    for name in set(before) - {"VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt"}:
        assert now[name] == before[name]  # what was whole is not written again


def test_a_whole_data_set_needs_no_archives(tmp_path: Path, web: Path) -> None:
    known = sources(web)
    prepare(tmp_path / "voc", web, sources=known)
    shutil.rmtree(web)
    prepare(tmp_path / "voc", web, sources=known)


def test_existing_voc_is_completed_in_place(tmp_path: Path, web: Path) -> None:
    with tarfile.open(web / "VOCtrainval_11-May-2012.tar") as tar:
        tar.extractall(tmp_path / "mine", filter="data")
    known = sources(web)
    (web / "VOCtrainval_11-May-2012.tar").unlink()
    folder = tmp_path / "mine" / "VOCdevkit" / "VOC2012"
    assert prepare(folder, web, sources=known) == folder
    assert (folder / "SegmentationClassAug" / f"{SBD_ONLY[0]}.png").is_file()


def test_a_damaged_mask_is_made_again(tmp_path: Path, web: Path) -> None:
    folder = prepare(tmp_path / "voc", web, sources=sources(web))
    for name in (TRAIN[0], SBD_ONLY[1]):
        path = folder / "SegmentationClassAug" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:40])
    prepare(tmp_path / "voc", web, sources=sources(web))
    for name in (TRAIN[0], SBD_ONLY[1]):
        mask_file = folder / "SegmentationClassAug" / f"{name}.png"
        np.testing.assert_array_equal(read_mask(mask_file, 21), mask(name, void=name in TRAIN))


def test_vocs_own_mask_replaces_another_augmented_mask(tmp_path: Path, web: Path) -> None:
    folder = prepare(tmp_path / "voc", web, sources=sources(web))
    path = folder / "SegmentationClassAug" / f"{TRAIN[0]}.png"
    path.write_bytes(png(mask(TRAIN[0], void=False)))  # a whole mask, SBD's
    prepare(tmp_path / "voc", web, sources=sources(web))
    np.testing.assert_array_equal(read_mask(path, 21), mask(TRAIN[0], void=True))


def test_downloads_come_from_the_address_and_are_kept(
    tmp_path: Path, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def retrieve(url: str, target: str, *_: Any) -> None:
        asked.append(url)
        shutil.copyfile(web / Path(url).name, target)

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", retrieve)
    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", lambda url, max_hops: url)
    known = sources(web)
    prepare(tmp_path / "voc", sources=known)
    assert asked == [known.voc.url, known.sbd.url]
    names = sorted(path.name for path in (tmp_path / "voc" / "archives").iterdir())
    assert names == ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"]


@pytest.mark.parametrize("failure", [urllib.error.URLError("no route"), TimeoutError("timed out"), RuntimeError("x")])
def test_without_network_the_message_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, web: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", fail)
    known = sources(web)
    with pytest.raises(UserError) as message:
        prepare(tmp_path / "voc", sources=known)
    for part in (known.voc.url, known.voc.md5, str(tmp_path / "voc" / "archives" / known.voc.filename)):
        assert part in str(message.value)


def test_a_download_with_other_content_is_refused(tmp_path: Path, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", lambda url, to: Path(to).write_text("404"))
    with pytest.raises(UserError, match=r"Cannot download .*manually"):
        fetch(sources(web).sbd, tmp_path / "archives")
    assert not (tmp_path / "archives" / "benchmark.tgz").exists()


def test_an_archive_that_is_not_whole_is_named(tmp_path: Path, web: Path) -> None:
    known = sources(web)
    path = web / "benchmark.tgz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"benchmark\.tgz is not whole"):
        prepare(tmp_path / "voc", web, sources=known)
    truncated = dataclasses.replace(known, sbd=dataclasses.replace(known.sbd, md5=md5(path)))
    with pytest.raises(UserError, match=r"benchmark\.tgz is damaged"):
        prepare(tmp_path / "voc", web, sources=truncated)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"MATLAB", "mask of 2008_000003 in the SBD archive cannot be read"),
        (mat(np.full(SIZE, 21, dtype=np.uint8)), r"mask of 2008_000003 .* not one of classes 0\.\.20"),
        (mat(np.zeros((3, 3), dtype=np.uint8)), r"2008_000003\.png is 3 x 3 pixels, its image 17 x 12"),
    ],
)
def test_an_invalid_mask_of_sbd_is_named(tmp_path: Path, web: Path, data: bytes, message: str) -> None:
    write_sbd(web / "benchmark.tgz", **{f"m{SBD_ONLY[1]}": data})
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "voc", web, sources=sources(web))


def test_masks_missing_in_the_archive_are_listed(tmp_path: Path, web: Path) -> None:
    write_sbd(web / "benchmark.tgz", without=SBD_ONLY[1])
    with pytest.raises(UserError, match=rf"benchmark\.tgz has no masks of 1 image:\n  {SBD_ONLY[1]}"):
        prepare(tmp_path / "voc", web, sources=sources(web))


def test_counts_are_checked(tmp_path: Path, web: Path) -> None:
    folder = prepare(tmp_path / "voc", web, sources=sources(web))
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join((*VAL, TRAIN[0])))
    with pytest.raises(UserError, match=r"val\.txt in .* has 2 ids, not the 1 official ones"):
        prepare(tmp_path / "voc", web, sources=sources(web))


@pytest.mark.parametrize("name", ["../../evil.jpg", "VOCdevkit/VOC2012/JPEGImages/../../../../evil.jpg", "link"])
def test_nothing_is_written_outside_the_root(tmp_path: Path, web: Path, name: str) -> None:
    with tarfile.open(web / "VOCtrainval_11-May-2012.tar", "a") as tar:
        if name == "link":
            link = tarfile.TarInfo("VOCdevkit/VOC2012/JPEGImages/x.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "../../../../evil.jpg"
            tar.addfile(link)
        else:
            add(tar, name, b"evil")
    with pytest.raises(UserError, match=r"2012\.tar is damaged .*outside"):
        prepare(tmp_path / "voc", web, sources=sources(web))
    assert not list(tmp_path.rglob("evil*"))


def test_official_cues_come_into_the_root(tmp_path: Path, web: Path) -> None:
    cues = {name: Cues((3,), np.full((41, 41), 3, dtype=np.uint8)) for name in TRAIN + SBD_ONLY}
    CueStore.from_dict(cues, {"source": "test"}).save(tmp_path / "some.safetensors")
    prepare(tmp_path / "voc", web, tmp_path / "some.safetensors", sources(web))
    assert len(CueStore.load(tmp_path / "voc" / "cues.safetensors")) == 5
    CueStore.from_dict({TRAIN[0]: cues[TRAIN[0]]}, {}).save(tmp_path / "some.safetensors")
    with pytest.raises(UserError, match=r"4 of 5 images have no cues"):
        prepare(tmp_path / "voc", web, tmp_path / "some.safetensors", sources(web))


def test_a_root_that_cannot_be_written_is_reported(tmp_path: Path, web: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot make the folder .*file/voc/archives .*root="):
        prepare(tmp_path / "file" / "voc", sources=sources(web))


def test_the_command_writes_its_results_and_prints_their_folder(
    tmp_path: Path, web: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = sources(web)
    monkeypatch.setattr(prepare_voc, "official_sources", lambda: known)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["prepare_voc.py", f"root={tmp_path / 'voc'}", f"archives={web}"])
    main()
    lines = capsys.readouterr().out.splitlines()
    run = tmp_path / lines[-1].removeprefix("run: ")
    results = json.loads((run / "results.json").read_text())
    assert results["images"] == {"train_aug": 5, "val": 1}
    assert results["data"] == str(tmp_path / "voc" / "VOCdevkit" / "VOC2012")


def test_the_official_sources_are_those_of_torchvision_with_the_right_counts() -> None:
    official = official_sources()
    assert official.voc.filename == "VOCtrainval_11-May-2012.tar"
    assert official.sbd.filename == "benchmark.tgz"
    assert [len(ids) for ids in (official.train, official.train_aug, official.val)] == [1_464, 10_582, 1_449]
    assert all(len(archive.md5) == 32 for archive in (official.voc, official.sbd))
    assert prepare_voc.AUGMENTED == "SegmentationClassAug"
