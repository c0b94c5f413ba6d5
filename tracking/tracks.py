"""Tracks: N points followed over the F frames of one clip, in pixels and in depth.

Conventions (fourreal.cameras): OpenCV axes, world-to-camera, pixel centres at +0.5, depth = z in
each frame's own camera. The central frame is the world and, unless cameras were given, its median
depth is 1. xyz is derived from uv and z in one place here, so it can never disagree with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourreal.atomic import atomic_file
from fourreal.cameras import unproject
from fourreal.errors import UserError
from fourreal.health import NotFinite
from fourreal.npz_file import read_npz


@dataclass
class Tracks:
    """N points over F frames, NumPy, validated on construction.

    uv float32 [F, N, 2]; z float32 [F, N], NaN where unobserved; visible bool [F, N]; confidence
    float32 [F, N] in 0..1; query_frame int32 [N]; query_uv float32 [N, 2]; rgb float32 [N, 3];
    K float64 [F, 3, 3]; w2c float64 [F, 4, 4]; central: index of the world's frame; size (H, W);
    nonrigid bool [N]: the point moves against the rigid scene.
    """

    uv: np.ndarray
    z: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    query_frame: np.ndarray
    query_uv: np.ndarray
    rgb: np.ndarray
    K: np.ndarray
    w2c: np.ndarray
    central: int
    size: tuple[int, int]
    nonrigid: np.ndarray

    def __post_init__(self) -> None:
        self.uv = np.ascontiguousarray(self.uv, np.float32)
        if self.uv.ndim != 3 or self.uv.shape[2] != 2:
            raise ValueError(f"uv: expected [F, N, 2], got {self.uv.shape}")
        f, n = self.uv.shape[:2]
        expected = {
            "z": ((f, n), np.float32),
            "visible": ((f, n), bool),
            "confidence": ((f, n), np.float32),
            "query_frame": ((n,), np.int32),
            "query_uv": ((n, 2), np.float32),
            "rgb": ((n, 3), np.float32),
            "K": ((f, 3, 3), np.float64),
            "w2c": ((f, 4, 4), np.float64),
            "nonrigid": ((n,), bool),
        }
        for name, (shape, dtype) in expected.items():
            value = np.ascontiguousarray(getattr(self, name), dtype)
            if value.shape != shape:
                raise ValueError(f"{name}: expected {shape}, got {value.shape}")
            setattr(self, name, value)
        self.size = (int(self.size[0]), int(self.size[1]))
        self.central = int(self.central)
        if not 0 <= self.central < f:
            raise ValueError(f"central: expected 0..{f - 1}, got {self.central}")
        if not np.isfinite(self.uv).all() or not np.isfinite(self.w2c).all():
            raise NotFinite("tracks: uv and w2c must be finite")
        if (self.z[np.isfinite(self.z)] <= 0).any():
            raise ValueError("z: expected positive depths (NaN where unobserved)")
        if n and not (0 <= self.query_frame.min() and self.query_frame.max() < f):
            raise ValueError(f"query_frame: expected 0..{f - 1}")

    @property
    def frames(self) -> int:
        """F, the number of frames."""
        return self.uv.shape[0]

    @property
    def points(self) -> int:
        """N, the number of points."""
        return self.uv.shape[1]

    @property
    def xyz(self) -> np.ndarray:
        """K^-1 [u, v, 1] z, float32 [F, N, 3] in each frame's own camera; NaN where unobserved."""
        return unproject(self.uv, self.z, self.K).astype(np.float32)

    @property
    def xyz_world(self) -> np.ndarray:
        """xyz carried into the central frame, float32 [F, N, 3]."""
        c2w = np.linalg.inv(self.w2c)
        xyz = self.xyz @ c2w[:, :3, :3].transpose(0, 2, 1) + c2w[:, None, :3, 3]
        return xyz.astype(np.float32)

    def select(self, keep: np.ndarray) -> Tracks:
        """The points chosen by a mask or an index array over N."""
        return Tracks(
            self.uv[:, keep],
            self.z[:, keep],
            self.visible[:, keep],
            self.confidence[:, keep],
            self.query_frame[keep],
            self.query_uv[keep],
            self.rgb[keep],
            self.K,
            self.w2c,
            self.central,
            self.size,
            self.nonrigid[keep],
        )

    def save(
        self,
        path: str | Path,
        video: np.ndarray | None = None,
        depths: np.ndarray | None = None,
        extra: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Write an .npz atomically, without pickle.

        Field names follow TAPIP3D / SpatialTrackerV2 (intrinsics, extrinsics, coords [F, N, 3] in
        world axes, visibs [F, N], and video uint8 / depths float32 when given), ours beside them;
        ``extra`` are further arrays to keep in the same file.
        """
        path = Path(path)
        fields = {
            "intrinsics": self.K,
            "extrinsics": self.w2c,
            "coords": self.xyz_world,
            "visibs": self.visible,
            "uv": self.uv,
            "z": self.z,
            "confidence": self.confidence,
            "query_frame": self.query_frame,
            "query_uv": self.query_uv,
            "rgb": self.rgb,
            "canonical": np.int64(self.central),
            "size": np.array(self.size, np.int64),
            "nonrigid": self.nonrigid,
        }
        if video is not None:
            fields["video"] = (np.clip(video, 0, 1) * 255 + 0.5).astype(np.uint8)
        if depths is not None:
            fields["depths"] = np.asarray(depths, np.float32)
        fields.update(extra or {})
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **fields)

    @classmethod
    def load(cls, path: str | Path) -> Tracks:
        """Read an .npz of ours, or one with only the shared field names (uv, z from coords).

        Raises:
            UserError: unreadable, a field is missing or of another shape.
        """
        try:
            return cls.from_fields(read_npz(path), path)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise UserError(f"{path}: not a readable .npz of tracks ({error})") from error

    @classmethod
    def from_fields(cls, arrays: dict[str, np.ndarray], source: str | Path) -> Tracks:
        """The tracks in the arrays of an .npz; see ``load``, which turns its errors into one."""
        fields = dict(arrays)
        video = fields.pop("video", None)
        for name in ("intrinsics", "extrinsics", "coords", "visibs"):
            if name not in fields:
                raise UserError(f"{source}: the field '{name}' is missing; it holds {list(fields)}")
        if "uv" not in fields:
            fields.update(_from_shared_names(fields, video, source))
        return cls(
            fields["uv"],
            fields["z"],
            fields["visibs"],
            fields["confidence"],
            fields["query_frame"],
            fields["query_uv"],
            fields["rgb"],
            fields["intrinsics"],
            fields["extrinsics"],
            int(fields["canonical"]),
            tuple(fields["size"]),
            fields["nonrigid"],
        )


def _from_shared_names(fields: dict, video: np.ndarray | None, path: str | Path) -> dict:
    """Our fields from world coordinates and cameras, for files made by other trackers."""
    coords, w2c, K = fields["coords"], fields["extrinsics"], fields["intrinsics"]
    f, n = coords.shape[:2]
    camera = coords @ w2c[:, :3, :3].transpose(0, 2, 1) + w2c[:, None, :3, 3]
    z = camera[..., 2]
    safe = np.where(z > 1e-6, z, 1.0)
    uv = (camera / safe[..., None] @ K.transpose(0, 2, 1))[..., :2]
    visible = fields["visibs"].reshape(f, n).astype(bool)
    query = visible.argmax(0)
    query_uv = uv[query, np.arange(n)]
    if video is not None:
        if video.ndim == 4 and video.shape[1] == 3:
            video = video.transpose(0, 2, 3, 1)
        size = video.shape[1:3]
        x = np.clip(query_uv[:, 0].astype(int), 0, size[1] - 1)
        y = np.clip(query_uv[:, 1].astype(int), 0, size[0] - 1)
        rgb = video[query, y, x].astype(np.float32)
        rgb = rgb / 255.0 if rgb.max(initial=0.0) > 1.5 else rgb
    elif "depths" in fields:
        size, rgb = fields["depths"].shape[1:3], np.full((n, 3), 0.5)
    else:
        raise UserError(f"{path}: neither video nor depths say how large the frames are")
    return {
        "uv": np.nan_to_num(uv),
        "z": np.where(z > 1e-6, z, np.nan),
        "rgb": rgb,
        "confidence": visible.astype(np.float32),
        "query_frame": query,
        "query_uv": query_uv,
        "canonical": 0,
        "size": size,
        "nonrigid": np.zeros(n, bool),
    }
