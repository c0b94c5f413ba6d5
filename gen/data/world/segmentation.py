"""Find the coloured objects of a (generated) frame of the procedural world.

Pixel colours are looked up in a table of how often the renderer makes them as background or as an
object of each colour. All images are [H,W,3] RGB in 0..1 and are brought to 40x64 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from gen.data.world.floor import ground
from gen.data.world.motion import camera_path
from gen.data.world.procedural import ray_basis, render
from gen.data.world.scene import COLOURS
from gen.data.world.scene_sampling import sample_scenes

HEIGHT, WIDTH = 40, 64
_BINS = 20
_MIN_PIXELS = 6
_XS = np.arange(WIDTH, dtype=np.float32)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass
class Blob:
    """One object in one frame: soft mask [40,64] in 0..1, colour index, score (mass), centre x."""

    mask: NDArray[np.float32]
    colour: int
    mass: float
    x: float


def to_working_size(image: NDArray) -> NDArray[np.float32]:
    """Resize [H,W,3] to 40x64 (area filter) and clip to 0..1."""
    image = np.clip(np.asarray(image, np.float32), 0, 1)
    if image.shape[:2] != (HEIGHT, WIDTH):
        shrink = image.shape[0] > HEIGHT
        image = cv2.resize(
            image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
    return np.asarray(image, np.float32)


def degrade(images: NDArray, rng: np.random.Generator, sigma: float, noise: float) -> NDArray:
    """Blur [..., H,W,3] by a Gaussian of sigma pixels and add noise, as a weak generator would."""
    axes = (0.0,) * (images.ndim - 3) + (sigma, sigma, 0.0)
    blurred = ndimage.gaussian_filter(images, axes) if sigma > 0 else images
    return np.clip(blurred + noise * rng.standard_normal(images.shape), 0, 1).astype(np.float32)


@cache
def _colour_table() -> NDArray[np.float32]:
    """P(class | rgb) [bins,bins,bins,9]; class 0 is background, 1 + i is COLOURS[i]."""
    generator = torch.Generator().manual_seed(20)
    rng = np.random.default_rng(20)
    scenes = sample_scenes(240, generator, count=1)
    u = torch.rand(len(scenes), 1, generator=generator)
    t = torch.rand(len(scenes), 1, generator=generator)
    out = render(scenes, u, t, HEIGHT, WIDTH, samples=2)
    fine = render(scenes, u, t, 2 * HEIGHT, 2 * WIDTH, want_depth=True).depth
    assert fine is not None
    eye, basis = ray_basis(camera_path(scenes, u), 2 * HEIGHT, 2 * WIDTH)
    floor = ground(scenes, eye, basis, 2 * HEIGHT, 2 * WIDTH)[1]
    inside = (fine[:, :, 0] < floor[..., None] - 1e-4).float()
    share = torch.nn.functional.avg_pool2d(inside, 2)[:, 0].numpy()
    rgb = out.rgb[:, 0, 0].numpy()
    label = np.where(share > 0.5, 1 + scenes.colour[:, :1, None].numpy(), 0)
    counts = np.zeros((len(COLOURS) + 1, _BINS**3))
    for sigma, noise in ((0.0, 0.0), (0.6, 0.02), (1.0, 0.03)):
        index = _bin_index(degrade(rgb, rng, sigma, noise))
        counts += np.bincount(
            (label * _BINS**3 + index).ravel(), minlength=counts.size
        ).reshape(counts.shape)  # fmt: skip
    counts[1:] *= 3.0  # objects are rare: a missed one costs more than a stray pixel
    density = counts.reshape(-1, _BINS, _BINS, _BINS)
    density = ndimage.gaussian_filter(density, (0, 1.2, 1.2, 1.2)) + 1e-4
    # Far from every rendered colour (a generator may overshoot): ask the nearest ones.
    wide = ndimage.gaussian_filter(density, (0, 4, 4, 4))
    density = density + 0.01 * wide
    return np.moveaxis(density / density.sum(0), 0, -1).astype(np.float32)


def _bin_index(rgb: NDArray) -> NDArray[np.int64]:
    b = np.clip((rgb * _BINS).astype(np.int64), 0, _BINS - 1)
    return (b[..., 0] * _BINS + b[..., 1]) * _BINS + b[..., 2]


def colour_probabilities(images: NDArray) -> NDArray[np.float32]:
    """P(background), P(colour i) of every pixel of [...,40,64,3]: [...,40,64,9]."""
    return _colour_table().reshape(-1, len(COLOURS) + 1)[_bin_index(images)]


def _largest_components(mask: NDArray[np.bool_], count: int) -> list[NDArray[np.bool_]]:
    """The `count` largest 8-connected components, holes kept, at least a few pixels each."""
    found, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    sizes = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-sizes, kind="stable")[:count]
    return [labels == i + 1 for i in order if sizes[i] >= _MIN_PIXELS] if found > 1 else []


def clip_colours(clip_probabilities: NDArray, n_objects: int) -> list[int]:
    """The n colours with the most object-like mass in [T,40,64,9] (one colour twice when only one
    is there)."""
    mass = np.zeros(len(COLOURS))
    best = clip_probabilities.argmax(-1)
    for frame in best:
        for colour in np.unique(frame[frame > 0]) - 1:
            parts = _largest_components(frame == colour + 1, 1)
            if parts:
                mass[colour] += parts[0].sum()
    order = np.argsort(-mass)[:n_objects]
    if n_objects == 2 and mass[order[1]] < 0.06 * mass[order[0]]:
        order = order[[0, 0]]
    return [int(c) for c in order if mass[c] > 0]


def blobs_of_colours(probabilities: NDArray, colours: list[int]) -> list[Blob | None]:
    """One blob for every colour of [40,64,9], None where it is not seen. A colour asked for twice
    gives its two largest parts, left one first."""
    chosen = sorted(set(colours))
    rivals = probabilities[..., [0] + [1 + c for c in chosen]]
    rivals = rivals / rivals.sum(-1, keepdims=True).clip(1e-9)
    winner = rivals.argmax(-1)
    out: list[Blob | None] = []
    for c in chosen:
        wanted = colours.count(c)
        soft = rivals[..., 1 + chosen.index(c)]
        parts = _largest_components(winner == 1 + chosen.index(c), wanted)
        blobs: list[Blob | None] = []
        for part in parts:
            mask = soft * cv2.dilate(part.astype(np.float32), _CROSS)
            mass = float(mask.sum())
            blobs.append(Blob(mask, c, mass, float(mask.sum(0) @ _XS) / mass))
        blobs.sort(key=lambda b: b.x if b is not None else 0.0)
        out += blobs + [None] * (wanted - len(blobs))
    return sorted(out, key=lambda b: colours.index(b.colour) if b is not None else len(colours))


def find_blobs(image: NDArray, n_objects: int) -> list[Blob]:
    """The n most prominent coloured objects of [H,W,3], from left to right (fewer if not seen)."""
    probabilities = colour_probabilities(to_working_size(image))
    colours = clip_colours(probabilities[None], n_objects)
    if not colours:
        return []
    blobs = [b for b in blobs_of_colours(probabilities, colours) if b is not None]
    return sorted(blobs, key=lambda b: b.x)
