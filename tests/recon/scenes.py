"""Tiny scenes and columns for the reconstruction's tests."""

import numpy as np
import torch

from fourreal.cameras import (
    intrinsics_from_fov,
    invert,
    look_at,
    pixel_grid,
    project,
    transform,
    unproject,
)
from recon.canonical.build import build_canonical
from recon.config import CanonicalConfig
from recon.motion.nodes import interpolation
from recon.scene import Scene4D
from tracking.column import ColumnTracks
from tracking.tracks import Tracks


def tiny_scene(n: int = 30, times: int = 3, views: int = 2, nodes: int = 5) -> Scene4D:
    """A random valid scene whose cameras look along z."""
    g = torch.Generator().manual_seed(0)
    w2c = torch.eye(4).repeat(views, 1, 1)
    w2c[:, 0, 3] = torch.arange(views) * -0.1
    offsets = 0.1 * torch.randn(times, nodes, 3, generator=g)
    offsets[0] = 0
    weights = torch.rand(n, 4, generator=g)
    view_offsets = 0.01 * torch.randn(views, n, 3, generator=g)
    view_offsets[0] = 0
    return Scene4D(
        means=torch.randn(n, 3, generator=g) * 0.3 + torch.tensor([0.0, 0.0, 2.0]),
        log_scales=torch.full((n,), -3.0),
        opacity_logits=torch.randn(n, generator=g),
        colors=torch.rand(n, 3, generator=g),
        times=torch.linspace(0, 1, times),
        node_offsets=offsets,
        node_index=torch.randint(0, nodes, (n, 4), generator=g),
        node_weights=weights / weights.sum(1, keepdim=True),
        view_offsets=view_offsets,
        K=torch.tensor([[30.0, 0, 20], [0, 30.0, 12], [0, 0, 1]]).repeat(views, 1, 1),
        w2c=w2c,
        size=(24, 40),
    )


def row_of_cameras(views: int, height: int, width: int):
    """K [V, 3, 3] and w2c [V, 4, 4] of cameras side by side that look along z."""
    K = np.tile(intrinsics_from_fov(55, height, width), (views, 1, 1))
    places = np.linspace(-0.4, 0.4, views)
    return K, np.stack([look_at((x, 0, 0), (0.3 * x, 0, 2), (0, -1, 0)) for x in places])


def painted_planes(K, w2c, times: int, height: int, width: int, planes):
    """frames [V, T, H, W, 3] and depth [V, T, H, W] of planes that face the cameras.

    planes: of a time, (z, paint) of each; paint: of places [P, 2] on it, which are of it [P] and
    their RGB [P, 3].
    """
    shape = len(w2c), times, height, width
    frames, depth = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    for v in range(len(w2c)):
        c2w = invert(w2c[v])
        pixels = pixel_grid(height, width).reshape(-1, 2)
        ray = unproject(pixels, np.ones(height * width), K[v]) @ c2w[:3, :3].T
        for t in range(times):
            nearest = np.full(height * width, np.inf)
            picture = np.zeros((height * width, 3))
            for z, paint in planes(t):
                s = (z - c2w[2, 3]) / ray[:, 2]
                hit, colours = paint((c2w[:3, 3] + s[:, None] * ray)[:, :2])
                front = hit & (s < nearest)
                picture[front], nearest[front] = colours[front], s[front]
            frames[v, t] = picture.reshape(height, width, 3)
            depth[v, t] = nearest.reshape(height, width)
    return frames, depth


def column_from_depth(frames, depth, K, w2c, canonical: int) -> ColumnTracks:
    """A perfect freeze-time column [V, H, W] from true depth and cameras."""
    V, H, W = depth.shape
    uv0 = pixel_grid(H, W).reshape(-1, 2)
    home = unproject(uv0, depth[canonical].reshape(-1).astype(np.float64), K[canonical])
    world = transform(invert(w2c[canonical]), home)
    uv, z, visible = np.zeros((V, H * W, 2)), np.zeros((V, H * W)), np.ones((V, H * W), bool)
    for v in range(V):
        uv[v], z[v] = project(transform(w2c[v], world), K[v])
        visible[v] = (uv[v] >= 0).all(-1) & (uv[v, :, 0] < W) & (uv[v, :, 1] < H)
    tracks = Tracks(
        *(uv, z, visible, visible.astype(np.float32), np.full(H * W, canonical), uv0),
        *(frames[canonical].reshape(-1, 3), K, w2c, canonical, (H, W), np.zeros(H * W, bool)),
    )
    return ColumnTracks(tracks, depth, np.ones_like(depth), K, w2c, canonical)


def on_nodes(frames, depth, K, w2c, z: float, every: int):
    """The scene of the first time, whose surface at depth ``z`` hangs on nodes that have not moved,
    one of so many of its points; and which points those are. Shapes as in ``painted_planes``."""
    column = column_from_depth(frames[:, 0], depth[:, 0], K, w2c, len(w2c) // 2)
    times = frames.shape[1]
    stamps = np.linspace(0, 1, times, dtype=np.float32)
    scene = build_canonical(frames[:, 0], column, CanonicalConfig(flat=0.0), stamps)
    means = scene.means.numpy()
    there = np.abs(means[:, 2] - z) < 0.05
    chosen = np.flatnonzero(there)[::every]
    index, weights = interpolation(means, means[chosen], 4, ~there)
    scene.node_index, scene.node_weights = torch.from_numpy(index), torch.from_numpy(weights)
    scene.node_offsets = torch.zeros(times, len(chosen), 3)
    return scene, chosen


def moving_square(views: int = 3, times: int = 3, size: tuple[int, int] = (24, 40)):
    """A textured square that slides before a textured wall.

    Returns frames [V,T,H,W,3], depth [V,T,H,W], K [V,3,3], w2c [V,4,4]; the middle view is the
    world's frame.
    """
    H, W = size
    K = np.tile(intrinsics_from_fov(55, H, W), (views, 1, 1))
    eyes = np.linspace(-0.45, 0.45, views)
    w2c = np.stack([look_at((x, 0, 0), (0.3 * x, 0, 2), (0, -1, 0)) for x in eyes])
    frames = np.zeros((views, times, H, W, 3), np.float32)
    depth = np.zeros((views, times, H, W), np.float32)
    fine = 4
    grid = (pixel_grid(H * fine, W * fine) / fine).reshape(-1, 2)
    for v in range(views):
        c2w = invert(w2c[v])
        ray = unproject(grid, np.ones(len(grid)), K[v]) @ c2w[:3, :3].T
        for t in range(times):
            colour, nearest = np.zeros((len(grid), 3)), np.full(len(grid), np.inf)
            for plane, shift in ((3.0, 0.0), (2.0, 0.12 * t)):
                s = (plane - c2w[2, 3]) / ray[:, 2]
                hit = c2w[:3, 3] + s[:, None] * ray
                x, y = hit[:, 0] - shift, hit[:, 1]
                inside = np.ones(len(x), bool) if plane == 3.0 else np.maximum(abs(x), abs(y)) < 0.3
                wave = 0.5 + 0.35 * np.stack([np.sin(5 * x), np.cos(6 * y), np.sin(4 * x + y)], -1)
                paint = wave if plane == 3.0 else wave[:, ::-1] * (1.0, 0.4, 0.3)
                front = inside & (s < nearest)
                colour[front], nearest[front] = paint[front], s[front]
            picture = colour.reshape(H, fine, W, fine, 3).mean((1, 3))
            frames[v, t] = picture
            depth[v, t] = nearest.reshape(H, fine, W, fine)[:, fine // 2, :, fine // 2]
    return frames, depth, K, w2c
