"""Read shape, colour and motion back from generated frames, to score them against their prompt.

The generator knows only the procedural world, so the question is always "which of the world's
objects or motions, rendered, is nearest to this?". Objects are segmented by colour, brought to one
size, and compared with labelled renders (clean and blurred). Frames are [H,W,3] RGB in 0..1.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gen.data.world.nearest import NearestExamples
from gen.data.world.procedural import render
from gen.data.world.scene import (
    COLOURS,
    MOTIONS,
    ROLLING_SHAPES,
    SHAPES,
    ObjectAttributes,
    SceneBatch,
)
from gen.data.world.scene_sampling import sample_scenes
from gen.data.world.segmentation import (
    HEIGHT,
    WIDTH,
    Blob,
    blobs_of_colours,
    clip_colours,
    colour_probabilities,
    degrade,
    find_blobs,
    to_working_size,
)

_CROP = 14  # side of the normalised crop
_STEPS = 8  # times that a clip's features are brought to
_XS, _YS = np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)
_GREY = np.full(3, 1 / 3, np.float32)
_DEGRADED = ((0.0, 0.0), (0.7, 0.02), (1.1, 0.03))


def _box(mask: NDArray) -> tuple[float, float, float, float]:
    """Centre x, y, width, height of a soft mask: the extent of its marginals above a quarter."""
    columns, rows = mask.max(0), mask.max(1)
    xs, ys = np.nonzero(columns > 0.25)[0], np.nonzero(rows > 0.25)[0]
    if len(xs) == 0:
        return WIDTH / 2, HEIGHT / 2, 1.0, 1.0
    x0, x1, y0, y1 = xs[0], xs[-1] + 1, ys[0], ys[-1] + 1
    return (x0 + x1) / 2, (y0 + y1) / 2, float(x1 - x0), float(y1 - y0)


def _crop(plane: NDArray, box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Resample a square around the box, 15 % wider than its longer side, to _CROP x _CROP."""
    x, y, w, h = box
    side = 1.15 * max(w, h)
    scale = _CROP / side
    matrix = np.array(
        [[scale, 0, _CROP / 2 - scale * x], [0, scale, _CROP / 2 - scale * y]], np.float32
    )
    # Positions count from pixel edges, warpAffine counts from centres.
    matrix[:, 2] += 0.5 * scale - 0.5
    crop = cv2.warpAffine(plane.astype(np.float32), matrix, (_CROP, _CROP), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.float32)


def _tone(image: NDArray, blob: Blob) -> NDArray[np.float32]:
    """Brightness relative to the object's mean, zero outside its mask."""
    grey = image @ _GREY
    mean = float(np.vdot(grey, blob.mask)) / max(blob.mass, 1e-6)
    return blob.mask * (grey / max(mean, 1e-3) - 1)


def _shape_features(image: NDArray, blob: Blob) -> NDArray[np.float32]:
    box = _box(blob.mask)
    _, _, w, h = box
    mask = _crop(blob.mask, box)
    tone = cv2.resize(_crop(_tone(image, blob), box), (7, 7), interpolation=cv2.INTER_AREA)
    scalars = [3 * np.log(w / h), 3 * blob.mass / (w * h), np.log(h)]
    return np.concatenate([mask.ravel(), 0.7 * tone.ravel(), scalars]).astype(np.float32)


@cache
def _shape_reader() -> NearestExamples:
    generator = torch.Generator().manual_seed(21)
    rng = np.random.default_rng(21)
    features, labels = [], []
    # Cover each shape evenly; growing and shrinking objects bring the small sizes.
    scenes = sample_scenes(800, generator, relation=("alone", "beside"))
    u = torch.rand(len(scenes), 1, generator=generator)
    t = torch.rand(len(scenes), 1, generator=generator)
    frames = render(scenes, u, t, HEIGHT, WIDTH, samples=2).rgb[:, 0, 0].numpy()
    for i, frame in enumerate(frames):
        sigma, noise = _DEGRADED[i % 3]
        image = degrade(frame, rng, sigma, noise)
        probabilities = colour_probabilities(image)
        for colour, shape in _truth(scenes, i):
            blob = blobs_of_colours(probabilities, [colour])[0]
            if blob is not None:
                features.append(_shape_features(image, blob))
                labels.append(shape)
    return NearestExamples.fit(np.stack(features), np.array(labels), len(SHAPES), ridge=0.3)


def _truth(scenes: SceneBatch, i: int) -> list[tuple[int, int]]:
    """(colour, shape) of every object of scene i."""
    return [
        (int(scenes.colour[i, k]), int(scenes.shape[i, k])) for k in range(int(scenes.count[i]))
    ]


def read_objects(image: NDArray, n_objects: int = 1) -> list[tuple[str, str, float]]:
    """The n most prominent objects of a frame, left to right: (shape, colour, score in 0..1).

    Fewer when fewer are seen. The score is the share of near renders that agree on the shape.
    """
    small = to_working_size(image)
    out = []
    for blob in find_blobs(small, n_objects):
        scores = _shape_reader().scores(_shape_features(small, blob))[0]
        out.append((SHAPES[int(scores.argmax())], COLOURS[blob.colour], float(scores.max())))
    return out


def _follow(clip: NDArray, n_objects: int) -> list[list[Blob | None]]:
    """One list of blobs over time for every object of [T,40,64,3], left to right at the start."""
    probabilities = colour_probabilities(clip)
    colours = clip_colours(probabilities, n_objects)
    if not colours:
        return []
    frames = [blobs_of_colours(p, colours) for p in probabilities]
    tracks: list[list[Blob | None]] = []
    for k, colour in enumerate(colours):
        twin = colours.count(colour) > 1
        tracks.append(
            [
                f[k] if twin else next((b for b in f if b is not None and b.colour == colour), None)
                for f in frames
            ]
        )
    tracks = [t for t in tracks if any(b is not None for b in t)]
    return sorted(tracks, key=lambda t: next(b.x for b in t if b is not None))


def _motion_features(clip: NDArray, track: list[Blob | None]) -> NDArray[np.float32]:
    """Trajectory, size, lean and change of look of one object, brought to _STEPS times."""
    seen = [i for i, b in enumerate(track) if b is not None]
    # Columns: x, y, log height, log width, log area, lean.
    rows, crops = [], []
    for i in seen:
        blob = track[i]
        assert blob is not None
        box = _box(blob.mask)
        total = max(blob.mass, 1e-6)
        columns, rows_sum = blob.mask.sum(0), blob.mask.sum(1)
        cx, cy = float(columns @ _XS) / total, float(rows_sum @ _YS) / total
        spread = (columns @ (_XS - cx) ** 2 + rows_sum @ (_YS - cy) ** 2) / total
        lean = (_YS - cy) @ blob.mask @ (_XS - cx) / total / max(float(spread), 0.1)
        rows.append([cx, cy, np.log(box[3]), np.log(box[2]), np.log(total), lean])
        look = _crop(_tone(clip[i], blob), box)
        crops.append(cv2.resize(look, (7, 7), interpolation=cv2.INTER_AREA))
    place = np.array(seen, float) / max(len(track) - 1, 1)
    grid = np.linspace(0, 1, _STEPS)
    values = np.array(rows)
    even = np.stack([np.interp(grid, place, values[:, c]) for c in range(values.shape[1])], 1)
    flat = np.stack(crops).reshape(len(crops), -1)
    looks = np.stack([np.interp(grid, place, flat[:, c]) for c in range(flat.shape[1])], 1)
    looks = looks.reshape(_STEPS, 7, 7)
    step = np.diff(looks, axis=0)
    between = 0.5 * (looks[1:] + looks[:-1])
    sideways = between[:, :, 2:] - between[:, :, :-2]
    moved = -(step[:, :, 1:-1] * sideways).sum((1, 2))  # optical flow of the texture, to the right
    energy = (sideways**2).sum((1, 2)) + 0.05
    rise = even - even.mean(0)
    first = even[0] - even.mean(0)
    return np.concatenate(
        [
            rise[:, 0] / 4, rise[:, 1] / 3, 3 * rise[:, 2], 3 * rise[:, 3], 2 * rise[:, 4],
            8 * even[:, 5], 2 * np.abs(step).mean((1, 2)) ** 0.5 * 4,
            2 * np.abs(looks - looks[0]).mean((1, 2)) ** 0.5 * 3, 3 * moved / energy,
            [np.abs(np.diff(rise[:, 0])).sum() / 6, np.abs(np.diff(rise[:, 1])).sum() / 5,
             3 * np.abs(np.diff(rise[:, 4])).sum(), 10 * even[:, 5].std(),
             4 * np.abs(step).mean() ** 0.5, first[0] / 4],
        ]
    ).astype(np.float32)  # fmt: skip


@cache
def _motion_reader() -> NearestExamples:
    generator = torch.Generator().manual_seed(22)
    rng = np.random.default_rng(22)
    features, labels = [], []
    glides = [m for m in MOTIONS if m.startswith(("roll", "slide"))]
    for scenes in (
        sample_scenes(220, generator),
        sample_scenes(80, generator, shapes=ROLLING_SHAPES, motions=glides),  # the close calls
    ):
        u = torch.rand(len(scenes), 1, generator=generator)
        clips = render(scenes, u, torch.linspace(0, 1, _STEPS), HEIGHT, WIDTH, samples=2).rgb[:, 0]
        for i, frames in enumerate(clips.numpy()):
            sigma, noise = _DEGRADED[i % 3]
            clip = degrade(frames, rng, sigma, noise)
            probabilities = colour_probabilities(clip)
            for k in range(int(scenes.count[i])):
                colour = int(scenes.colour[i, k])
                track = [blobs_of_colours(p, [colour])[0] for p in probabilities]
                if sum(b is not None for b in track) >= 2:
                    features.append(_motion_features(clip, track))
                    labels.append(int(scenes.motion[i, k]))
    return NearestExamples.fit(np.stack(features), np.array(labels), len(MOTIONS), ridge=0.02)


def _small_clip(clip: NDArray) -> NDArray[np.float32]:
    clip = np.asarray(clip, np.float32)
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise ValueError(f"a clip must be [T,H,W,3]; got {list(clip.shape)}")
    return np.stack([to_working_size(f) for f in clip])


def read_clip(clip: NDArray, n_objects: int = 1) -> list[tuple[ObjectAttributes, float, float]]:
    """Objects of a fixed-view clip [T,H,W,3], left to right at its start: attributes, shape score,
    motion score. Shapes are voted over all frames, larger views counting more."""
    small = _small_clip(clip)
    out = []
    for track in _follow(small, n_objects):
        views = [(i, b) for i, b in enumerate(track) if b is not None]
        features = np.stack([_shape_features(small[i], b) for i, b in views])
        weight = np.array([b.mass for _, b in views])
        shape = (np.log(_shape_reader().scores(features)) * weight[:, None]).sum(0) / weight.sum()
        shape = np.exp(shape - shape.max())
        motion = np.zeros(len(MOTIONS))
        motion[0] = 1.0
        if len(views) >= 2:
            motion = _motion_reader().scores(_motion_features(small, track))[0]
            if SHAPES[int(shape.argmax())] not in ROLLING_SHAPES:
                motion[[MOTIONS.index("roll_left"), MOTIONS.index("roll_right")]] = 0.0
        what = ObjectAttributes(
            SHAPES[int(shape.argmax())], COLOURS[views[0][1].colour], MOTIONS[int(motion.argmax())]
        )
        out.append((what, float(shape.max() / shape.sum()), float(motion.max())))
    return out
