"""How good recovered cameras, depth and tracks are, against exact ones.

Legend: V views, H W image. Recovered scenes have an arbitrary frame and scale: cameras are compared
after a similarity alignment of the camera centres, depth after one scale per clip (medians).
"""

from __future__ import annotations

import numpy as np

from fourreal.cameras import camera_centres, relative_pose, unproject
from tracking.column import ColumnTracks
from tracking.depth.consistency import reproject
from tracking.flow.optical import inside


def align_similarity(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, R [3, 3], shift [3]) with b ~ scale R a + shift for points [N, 3] (Umeyama)."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, singular, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    spread = max(float(((a - mean_a) ** 2).sum()), 1e-12)
    scale = float((singular * np.diag(sign)).sum() / spread)
    return scale, rotation, mean_b - scale * rotation @ mean_a


def camera_errors(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """rotation_deg (mean, after one common rotation) and centre_percent (RMS, % of path length)."""
    common = sum(t[:3, :3].T @ f[:3, :3] for f, t in zip(found, truth, strict=True))
    u, _, vt = np.linalg.svd(common)
    common = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    angles = []
    for f, t in zip(found, truth, strict=True):
        turn = (t[:3, :3] @ common).T @ f[:3, :3]
        angles.append(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    a, b = camera_centres(found), camera_centres(truth)
    scale, rotation, shift = align_similarity(a, b)
    error = np.linalg.norm(scale * a @ rotation.T + shift - b, axis=1)
    path = np.linalg.norm(np.diff(b, axis=0), axis=1).sum()
    return {
        "rotation_deg": float(np.mean(angles)),
        "rotation_max_deg": float(np.max(angles)),
        "centre_percent": float(100 * np.sqrt((error**2).mean()) / path),
    }


def depth_errors(
    found: np.ndarray, confidence: np.ndarray, truth: np.ndarray, sure: float = 0.3
) -> tuple[dict[str, float], np.ndarray, float]:
    """Metrics, relative error [V, H, W] (NaN without truth) and the scale found -> truth.

    depth_rel_median, coverage: over pixels of confidence above `sure` (share of those with truth);
    depth_rel_median_all, depth_bad_percent (error above 5 %): over all pixels with truth.
    """
    known = np.isfinite(truth)
    covered = known & (confidence > sure)
    base = covered if covered.sum() > 100 else known
    scale = float(np.median(truth[base] / found[base]))
    error = np.where(known, np.abs(found * scale / np.where(known, truth, 1.0) - 1), np.nan)
    metrics = {
        "depth_rel_median": float(np.median(error[base])),
        "coverage": float(covered.sum() / known.sum()),
        "depth_rel_median_all": float(np.median(error[known])),
        "depth_bad_percent": float(100 * (error[known] > 0.05).mean()),
    }
    return metrics, error, scale


def true_tracks(
    depth: np.ndarray, K: np.ndarray, w2c: np.ndarray, canonical: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks of the canonical pixels in a still scene from exact depth [V, H, W] and cameras.

    Returns uv [V, N, 2], xyz in each camera [V, N, 3] (NaN without depth), visible [V, N].
    """
    views, h, w = depth.shape
    known = np.isfinite(depth[canonical])
    rho = np.where(known, 1.0 / np.where(known, depth[canonical], 1.0), 1.0).astype(np.float32)
    uvs, points, visible = [], [], []
    for v in range(views):
        uv, there = reproject(rho, K[canonical], K[v], relative_pose(w2c[canonical], w2c[v]))
        x = np.clip(uv[..., 0].astype(int), 0, w - 1)
        y = np.clip(uv[..., 1].astype(int), 0, h - 1)
        z = 1.0 / np.maximum(there, 1e-6)
        seen = known & inside(uv, h, w) & (depth[v][y, x] > 0.97 * z)
        uvs.append(uv.reshape(-1, 2))
        points.append(unproject(uv.reshape(-1, 2), np.where(known, z, np.nan).ravel(), K[v]))
        visible.append(seen.ravel())
    return np.stack(uvs), np.stack(points), np.stack(visible)


def track_errors(
    column: ColumnTracks, depth: np.ndarray, K: np.ndarray, w2c: np.ndarray, scale: float
) -> dict[str, float]:
    """3-D errors of the canonical view's tracks in each view's own camera, in % of median depth.

    epe3d: median distance over truly visible points; epe3d_mean; epe2d_px; apd3d: share within
    1, 2, 4, 8, 16 pixels' worth of depth at 256 pixels (TAPVid-3D); aj3d: the same with visibility,
    TP / (TP + FP + FN); occlusion_accuracy.
    """
    tracks = column.tracks
    x, y = np.floor(tracks.query_uv).astype(int).T
    pixel = y * tracks.size[1] + x
    uv, xyz, visible = (a[:, pixel] for a in true_tracks(depth, K, w2c, column.central))
    others = np.arange(len(depth)) != column.central
    distance = np.linalg.norm(tracks.xyz * scale - xyz, axis=-1)
    known = np.isfinite(xyz[..., 2]) & others[:, None]
    seen = known & visible & np.isfinite(distance)
    unit = float(np.nanmedian(depth[column.central]))
    long_side = max(tracks.size)
    apd, aj = [], []
    for pixels in (1, 2, 4, 8, 16):
        limit = pixels * xyz[..., 2] / K[0, 0, 0] * (long_side / 256.0)
        near = distance < limit
        apd.append(near[seen].mean())
        hit = seen & tracks.visible & near
        wrong = known & tracks.visible & ~(visible & near)
        missed = seen & ~(tracks.visible & near)
        aj.append(hit.sum() / max(1, hit.sum() + wrong.sum() + missed.sum()))
    flat = np.linalg.norm(tracks.uv - uv, axis=-1)
    return {
        "epe3d": float(100 * np.median(distance[seen]) / unit),
        "epe3d_mean": float(100 * distance[seen].mean() / unit),
        "epe2d_px": float(np.median(flat[seen])),
        "aj3d": float(100 * np.mean(aj)),
        "apd3d": float(100 * np.mean(apd)),
        "occlusion_accuracy": float(100 * (tracks.visible == visible)[known].mean()),
    }
