"""Which frame of each camera's video belongs to which time: other rates, early ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourreal.video_facts import VideoFacts
from gen.footage.views import TimedView, VideoView, View

SAME_RATE = 1.01
DROPPED = 0.75  # an uneven video that keeps this share of the frames is no slower one
NEARLY = 0.9  # of the longest video: shorter ones end early and lose cells


def timed_views(
    videos: Sequence[VideoView],
) -> tuple[list[View], NDArray[np.bool_], NDArray[np.float64], list[str]]:
    """Views with the frames of one time at one index, known bool [V, T], seconds [T], and lines.

    Videos of one even rate: the k-th frame is time k. Else times are the frames of the slowest
    video, and of the others the frames nearest to them. All are taken to begin together.
    """
    facts = [v.facts for v in videos]
    rates = [f.fps for f in facts]
    if max(rates) <= SAME_RATE * min(rates) and not any(f.uneven for f in facts):
        notes: list[str] = []
        index = [list(range(f.count)) for f in facts]
        seconds = np.arange(max(f.count for f in facts)) / rates[0]
    else:
        index, seconds, notes = _nearest(facts, videos)
    counts = [sum(k >= 0 for k in row) for row in index]
    times = min(n for n in counts if n >= NEARLY * max(counts))
    known = np.array([np.arange(times) < n for n in counts])
    if max(counts) > times:
        notes.append(f"the videos differ in length: the first {times} frames of each are used")
    early = [
        f"{v.name} (after {n})" for v, n in zip(videos, counts, strict=True) if n < times
    ]  # fmt: skip
    if early:
        notes.append(f"ends early, its later cells are unknown: {', '.join(early)} of {times}")
    plain = not early and all(row[:times] == list(range(times)) for row in index)
    if plain:
        return list(videos), known, seconds[:times], notes
    padded = [(row + [-1] * times)[:times] for row in index]
    views = [TimedView(v, tuple(row)) for v, row in zip(videos, padded, strict=True)]
    return list(views), known, seconds[:times], notes


def _nearest(
    facts: Sequence[VideoFacts], videos: Sequence[VideoView]
) -> tuple[list[list[int]], NDArray[np.float64], list[str]]:
    """Per video the frame at each time of the slowest (even) one, -1 after its end."""
    reference = min(facts, key=lambda f: (f.fps, -f.count))
    even = [f for f in facts if not f.uneven and DROPPED * f.fps <= reference.fps]
    if even:  # what is uneven has lost a few frames
        reference = min(even, key=lambda f: (f.fps, -f.count))
    seconds = reference.seconds
    index = []
    for one in facts:
        stamps = one.seconds
        nearest = np.abs(stamps[None] - seconds[:, None]).argmin(1)
        late = seconds > stamps[-1] + 0.5 / one.fps + 1e-6
        index.append(np.where(late, -1, nearest).tolist())
    name = videos[list(facts).index(reference)].name
    listed = ", ".join(f"{v.name} {f.fps:.4g}" for v, f in zip(videos, facts, strict=True))
    return index, seconds, [
        f"frame rates differ or are uneven ({listed} fps): the frames nearest in time to those of "
        f"{name} are used"
    ]  # fmt: skip
