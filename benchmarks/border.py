"""What makes maps and cues follow the frame of the image: the smoothing of the maps, or the padding in the trunk?

    python src/make_cues.py data=folder data.root=<folder> out=<out>
    python -m benchmarks.border --root <folder> --cues <out>

The folder has masks. The network is the one of ``make_cues``. Only the padding of its trunk changes, no weight.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from secseg.cue_making.classifier import LocalizationNet, load_localization
from secseg.data.cues import CueStore
from secseg.data.images import read_image
from secseg.data.transforms import evaluation_input
from secseg.models.cpu import same_padding
from secseg.utils.resizing import resize_mask

DISTANCES = (0, 1, 2, 3, 5, 8, 12, 16)
"""Distances from the frame in cells of the maps."""


class PaddedConv(nn.Module):
    """``conv``, whose input is padded by its own values, in place of zeros: ``mode`` of ``torch.nn.functional.pad``."""

    def __init__(self, conv: nn.Conv2d, mode: str) -> None:
        super().__init__()
        self.conv, self.mode = conv, mode

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        sides = zip(x.shape[-2:], conv.kernel_size, conv.stride, conv.dilation, strict=True)
        rows, columns = (same_padding(*side) for side in sides)
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), mode=self.mode)
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def padded(network: LocalizationNet, mode: str) -> LocalizationNet:
    """Return a copy whose trunk pads with values of the input in each convolution (see ``PaddedConv``)."""
    network = copy.deepcopy(network)
    for parent in list(network.trunk.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
                setattr(parent, name, PaddedConv(child, mode))
    return network


def levels_of(network: LocalizationNet, image: np.ndarray, margin: int = 0) -> list[Tensor]:
    """Return the feature levels of an image, which is reflected over ``margin`` pixels on each side and cropped after
    the trunk."""
    pixels = network.normalized(evaluation_input(image, network.input_size)[None])
    levels = network.trunk(F.pad(pixels, (margin,) * 4, mode="reflect") if margin else pixels)
    cells = [margin // stride for stride in network.trunk.strides]
    return [x[..., n : x.shape[-2] - n, n : x.shape[-1] - n] for x, n in zip(levels, cells, strict=True)]


def distance(side: int) -> np.ndarray:
    """Return the distance (side, side) of each cell from the frame, in cells."""
    one = np.minimum(np.arange(side), np.arange(side)[::-1])
    return np.minimum(one, one[:, None])


def row(name: str, values: np.ndarray, digits: int = 2) -> None:
    """Print the means of ``values`` (N, h, w) at each distance from the frame, and in the corners."""
    rings = distance(values.shape[-1])
    means = [float(values[:, rings == at].mean()) for at in DISTANCES] + [float(values[:, ::40, ::40].mean())]
    print(f"{name:32}", *(f"{mean:8.{digits}f}" for mean in means), flush=True)


def lowest(values: np.ndarray, share: float) -> np.ndarray:
    """Return where each of ``values`` (N, h, w) is lowest: (N, h, w) bool."""
    return np.stack([one < np.sort(one, axis=None)[int(share * one.size)] for one in values])


def from_cues(cues: Path, truth: Callable[[str], np.ndarray], names: Sequence[str], share: float) -> None:
    """Print how often cells are cues, and how often they are in the lowest ``share`` of the maps, by the filter."""
    store = CueStore.load(cues / "cues.safetensors")
    maps, masks = np.stack([store[name].map for name in names]), np.stack([truth(name) for name in names])
    row("background in the masks", masks == 0)
    row("background cues", maps == 0)
    row("classes in the masks", (masks > 0) & (masks < 255), 3)
    row("cues of classes", (maps > 0) & (maps < 255), 3)
    (folder,) = (cues / "maps").iterdir()
    highest = np.stack([load_file(folder / f"{name}.safetensors")["highest"].astype(np.float64) for name in names])
    row("highest map", highest)
    row(f"lowest {share:.0%}, not smoothed", lowest(highest, share))
    for mode in ("nearest", "reflect"):
        for width in (1, 4):
            smooth = np.stack([gaussian_filter(one, width, mode=mode) for one in highest])
            row(f"smoothed over {width}, {mode}", lowest(smooth, share))


def shift(name: str, level: np.ndarray) -> None:
    """Print how far the mean of each channel of ``level`` (N, c, h, w) is from its mean inside the image, in standard
    deviations inside the image, as the mean over the channels."""
    rings = distance(level.shape[-1])
    inside = level[..., rings >= level.shape[-1] // 4]
    mean, deviation = inside.mean((0, 2)), inside.std((0, 2)) + 1e-3
    parts = [level[..., rings == at] for at in DISTANCES if at <= level.shape[-1] // 2]
    found = [float(np.abs((part.mean((0, 2)) - mean) / deviation).mean()) for part in parts]
    print(f"{name:32}", *(f"{one:8.2f}" for one in found), flush=True)


@torch.inference_mode()
def from_trunk(network: LocalizationNet, images: Sequence[np.ndarray]) -> None:
    """Print the shift of the features, and the highest map of the same head, with other paddings in the trunk."""
    ways = {
        "zeros (as it is)": (network, 0),
        "image reflected over 32 pixels": (network, 32),
        "replicate in each convolution": (padded(network, "replicate"), 0),
        "reflect in each convolution": (padded(network, "reflect"), 0),
    }
    for name, (net, margin) in ways.items():
        features = [levels_of(net, image, margin) for image in images]
        for stride, levels in zip(network.trunk.strides, zip(*features, strict=True), strict=True):
            shift(f"  shift at stride {stride}", torch.cat(levels).numpy())
        highest = np.stack([network.activation_maps_of(levels).amax(1)[0].numpy() for levels in features])
        row(name, highest)
        row("  lowest 60 % of the cells", lowest(highest, 0.6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with images/ and masks/")
    parser.add_argument("--cues", type=Path, required=True, help="output folder of make_cues.py")
    parser.add_argument("--images", type=int, default=300, help="images whose cues are counted")
    parser.add_argument("--share", type=float, default=0.6, help="share of the cells that are lowest")
    parser.add_argument("--passes", type=int, default=24, help="images that pass through the trunk; 0: none")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = CueStore.load(given.cues / "cues.safetensors").names
    files = {path.stem: path for path in (given.root / "images").iterdir()}
    chosen = [names[at] for at in np.linspace(0, len(names) - 1, min(given.images, len(names))).astype(int)]
    print(f"{len(chosen)} images; cells from the frame".ljust(32), *(f"{at:8}" for at in DISTANCES), "  corner")
    from_cues(given.cues, lambda name: _truth(given.root / "masks" / f"{name}.png"), chosen, given.share)
    if not given.passes:
        return
    (file,) = (given.cues / "networks").glob("*/network.safetensors")
    passing = chosen[:: max(1, len(chosen) // given.passes)][: given.passes]
    print(f"Highest map of the same head, and shift of its features, {len(passing)} images")
    from_trunk(load_localization(file).eval(), [read_image(files[name]) for name in passing])


def _truth(path: Path) -> np.ndarray:
    return resize_mask(np.array(Image.open(path)), (41, 41))


if __name__ == "__main__":
    main()
