"""A small scene that moves: a ball over a chequered floor, its shadow, a post that appears."""

import numpy as np
import torch

from fourreal.cameras import intrinsics_from_fov, look_at
from recon.motion.curve import spline_slopes
from recon.scene import Scene4D
from recon.sheen import seen_from

TARGET = np.array([0.0, 0.2, 3.0])


def toy_scene(points: int = 1800, times: int = 4, views: int = 3, size=(72, 128)) -> Scene4D:
    """Scene4D of about ``points`` Gaussians, world units about 3 deep, y down."""
    rng = np.random.default_rng(0)
    side = int(np.sqrt(points * 0.7))
    x, z = np.meshgrid(np.linspace(-2, 2, side), np.linspace(1.8, 4.6, side))
    floor = np.stack([x, np.full_like(x, 0.8), z], -1).reshape(-1, 3)
    floor += rng.uniform(-0.01, 0.01, floor.shape)  # no two at equal depth: one order only
    chequer = (np.floor(floor[:, 0] * 2) + np.floor(floor[:, 2] * 2)) % 2
    floor_rgb = np.where(chequer[:, None] > 0, [0.75, 0.7, 0.6], [0.25, 0.28, 0.35])
    n_ball = int(points * 0.25)
    ray = rng.normal(size=(n_ball, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    ball = np.array([-0.6, 0.3, 3.0]) + 0.35 * ray
    ball_rgb = np.clip(np.array([0.85, 0.2, 0.15]) * (0.7 - 0.4 * ray[:, 1:2]), 0, 1)
    n_post = points - len(floor) - n_ball
    post = np.array([0.9, 0.1, 3.4]) + rng.uniform(-1, 1, (n_post, 3)) * [0.08, 0.7, 0.08]
    post_rgb = np.tile([0.2, 0.5, 0.9], (n_post, 1))

    means = np.concatenate([floor, ball, post])
    n, first, last = len(means), len(floor), len(floor) + n_ball
    stamps = np.linspace(0, 1, times)
    nodes = np.zeros((times, 2, 3))
    nodes[:, 1] = np.stack([1.2 * stamps, -0.5 * np.sin(np.pi * stamps), 0.2 * stamps], -1)
    index = np.zeros((n, 1), int)
    index[first:last] = 1
    shade = np.ones((times, n))
    for t, s in enumerate(stamps):
        under = np.hypot(floor[:, 0] + 0.6 - 1.2 * s, floor[:, 2] - 3.0 - 0.2 * s)
        shade[t, :first] = 1 - 0.5 * (under < 0.4)
    visibility = np.ones((times, n))
    visibility[:, last:] = np.linspace(0.2, 1, times)[:, None]

    angles = np.linspace(-0.3, 0.3, views)
    eyes = [TARGET + [3 * np.sin(a), -0.5, -3 * np.cos(a)] for a in angles]
    w2c = np.stack([look_at(eye, TARGET) for eye in eyes])
    K = np.repeat(intrinsics_from_fov(55, *size)[None], views, 0)

    def tensor(value) -> torch.Tensor:
        return torch.as_tensor(np.asarray(value), dtype=torch.float32)

    scale = np.where(np.arange(n) < first, 0.055, 0.045)
    return Scene4D(
        means=tensor(means),
        log_scales=tensor(np.log(scale)),
        opacity_logits=tensor(rng.uniform(0.5, 3, n)),
        colors=tensor(np.concatenate([floor_rgb, ball_rgb, post_rgb])),
        times=tensor(stamps),
        node_offsets=tensor(nodes - nodes[:1]),
        node_index=torch.as_tensor(index),
        node_weights=torch.ones(n, 1),
        view_offsets=torch.zeros(views, n, 3),
        K=tensor(K),
        w2c=tensor(w2c),
        size=size,
        canonical_view=views // 2,
        background=tensor([0.05, 0.07, 0.1]),
        shade=tensor(shade),
        visibility=tensor(visibility),
    )


def uncommon_scene(kind: str, points: int = 1800, size=(72, 128)) -> Scene4D:
    """A toy scene with more to it: ``shaped`` Gaussians (anisotropic), which may be ``turning``,
    ``sheen``, ``literal`` offsets, or ``curved`` motion at uneven
    times, with points that are not visible at the first three."""
    scene = toy_scene(points, size=size)
    if kind in ("shaped", "turning"):
        generator = torch.Generator().manual_seed(1)
        scene.log_stretch = 0.6 * torch.randn(len(scene), 3, generator=generator).clamp(-2, 2)
        scene.rotations = torch.randn(len(scene), 4, generator=generator)
        if kind == "turning":
            scene.node_turns = torch.zeros_like(scene.node_offsets)
            scene.node_turns[1:, 1] = torch.linspace(0.2, 0.7, len(scene.times) - 1)[:, None]
            scene.node_turns[1:, 1, 2] *= -1
    elif kind == "sheen":
        generator = torch.Generator().manual_seed(2)
        scene.sheen = 0.8 * torch.randn(len(scene), 3, 3, generator=generator).clamp(-2, 2)
        scene.sheen_from = seen_from(scene.means, scene.w2c)
    elif kind == "curved":
        scene.times = torch.tensor([0.0, 0.2, 0.5, 1.0])
        scene.node_slopes = spline_slopes(scene.times, scene.node_offsets)
        assert scene.visibility is not None
        scene.visibility[:3, scene.visibility.min(0).values < 1] = -0.5
    else:
        scene.offset_frame = "literal"
        scene.node_offsets = 2 * scene.node_offsets
    return scene


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio of two pictures in 0..1, in dB."""
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2) + 1e-12))
