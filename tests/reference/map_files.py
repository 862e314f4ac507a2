"""Maps and masks in the layouts of other programs, written and read with NumPy, torch and Pillow alone.

Written from the layouts, without our code: ``np.save`` of a dict, as ``step/make_cam.py`` of IRN, ``infer_cls.py`` of
PSA and ``generate_cams_voc12.py`` of CLIP-ES do, and IRN's rule for confident pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


def write_irn(path: Path, keys: list[int], high_res: np.ndarray) -> None:
    """``keys``: zero-based classes; ``high_res`` (K, h, w)."""
    strided = torch.nn.functional.interpolate(
        torch.from_numpy(high_res)[:, None], size=[(side - 1) // 4 + 1 for side in high_res.shape[1:]]
    )[:, 0]
    _save(path, {"keys": torch.tensor(keys), "cam": strided, "high_res": high_res})


def write_irn_strided(path: Path, keys: list[int], cam: np.ndarray) -> None:
    _save(path, {"keys": torch.tensor(keys), "cam": torch.from_numpy(cam)})


def write_clip_es(path: Path, keys: list[int], maps: np.ndarray) -> None:
    _save(path, {"keys": np.array(keys), "attn_highres": maps.astype(np.float16)})


def write_psa(path: Path, keys: list[int], maps: np.ndarray) -> None:
    _save(path, dict(zip(keys, maps, strict=True)))


def write_psa_crf(path: Path, keys: list[int], maps: np.ndarray, alpha: float) -> None:
    """Probabilities as PSA's CRF gives them, here without a CRF: the background is (1 - highest map) ^ alpha."""
    background = (1 - maps.max(0, initial=0)) ** alpha
    scores = np.concatenate([background[None], maps]) + 1e-6
    probs = (scores / scores.sum(0)).astype(np.float32)
    _save(path, {0: probs[0], **{key + 1: one for key, one in zip(keys, probs[1:], strict=True)}})


def write_png(path: Path, mask: np.ndarray, palette: list[int] | None = None) -> None:
    image = Image.fromarray(mask, mode=None)
    if palette is not None:
        image.putpalette(palette)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def read(path: Path) -> dict[Any, Any]:
    """The dict in a ``.npy`` file, as these programs read it."""
    return np.load(path, allow_pickle=True).item()


def irn_labels(content: dict[Any, Any], high: float = 0.3, low: float = 0.05) -> np.ndarray:
    """IRN's ``cam_to_ir_label.py`` without its CRF: class numbers (h, w), 0 = background, 255 = not sure."""
    keys = np.pad(np.asarray(content["keys"]) + 1, (1, 0), mode="constant")
    sure, maybe = (
        keys[np.argmax(np.pad(content["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=value), axis=0)]
        for value in (high, low)
    )
    labels = sure.copy()
    labels[sure == 0] = 255
    labels[maybe + sure == 0] = 0
    return labels.astype(np.uint8)


def psa_labels(low: dict[int, np.ndarray], high: dict[int, np.ndarray]) -> np.ndarray:
    """PSA's ``voc12/data.py``: classes where the low alpha is sure, background where the high alpha is."""
    sure, maybe = (np.array(list(one))[np.argmax(list(one.values()), axis=0)] for one in (low, high))
    labels = sure.copy()
    labels[sure == 0] = 255
    labels[maybe == 0] = 0
    return labels.astype(np.uint8)


def _save(path: Path, content: dict[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
