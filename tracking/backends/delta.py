"""DELTA and DELTA v2 (Ngo et al. 2025): dense 3-D tracks from a user's checkout and checkpoint.

Both are Snap's, for non-commercial research only: nothing of them is or may be part of this
project. Interface as in their demos (snap-research/DELTA_densetrack3d at 3367cda, DenseTrack3Dv2 at
80635b4): ``DensePredictor3D(model)(video [1, T, 3, H, W] in 0..255, videodepth [1, T, 1, H, W],
grid_query_frame, predefined_intrs)`` -> trajs_uv [1, T', N, 2] in pixels with centres at whole
numbers, trajs_depth, vis, conf; forwards only; N is always the network's own grid, whatever the
size of the frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fourreal.cameras import pixel_grid
from fourreal.checkout import fill_model, importable, load_module, load_weights
from fourreal.errors import UserError
from tracking.backends.dense_tracks import both_ways, dense_tracks
from tracking.backends.requirements import device, why_not
from tracking.depth.consistency import nearest
from tracking.protocols import Depth
from tracking.tracks import Tracks

PACKAGES = ("densetrack3d",)
MODEL = {
    "stride": 4,
    "window_len": 16,
    "add_space_attn": True,
    "num_virtual_tracks": 64,
    "model_resolution": (384, 512),
    "upsample_factor": 4,
}


class Delta:
    """Dense 3-D tracks; needs a depth for every frame and the intrinsics."""

    def __init__(self, path: str, weights: str, version: int = 1) -> None:
        """path: the checkout; weights: densetrack3d.pth or densetrack3dv2.pth; version: 1 or 2."""
        if version not in (1, 2):
            raise ValueError(f"version: expected 1 or 2, got {version}")
        self.path, self.weights, self.version = path, weights, version

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        module = "densetrack3d" if self.version == 1 else "densetrack3dv2"
        needed = (
            f"densetrack3d/models/densetrack3d/{module}.py",
            "densetrack3d/models/predictor/dense_predictor.py",
        )
        name = "DELTA_densetrack3d" if self.version == 1 else "DenseTrack3Dv2"
        hint = f"git clone https://github.com/snap-research/{name}"
        reason = why_not(self.path, needed, self.weights, ("einops", "jaxtyping"), hint)
        if not reason and self.version == 2 and not torch.cuda.is_available():
            reason = "version 2 runs on CUDA only"
        return not reason, reason

    def __call__(
        self, frames: np.ndarray, depth: Depth | None, K: np.ndarray | None, query_view: int
    ) -> Tracks:
        """frames float32 [F, H, W, 3] in 0..1, their depth and K [3, 3] -> tracks."""
        if depth is None or K is None:
            raise UserError("delta needs a depth of every frame and K")
        if depth.kind == "disparity":
            raise UserError("delta needs depth, not disparity; align it first")
        predictor = self._predictor()
        height, width = frames.shape[1:3]
        video = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)) * 255.0)[None]
        z = np.where(np.isfinite(depth.depth), depth.depth, 0.0).astype(np.float32)
        # depths below 0.01 are clamped by the network: work near 1, whatever the unit
        unit = float(np.median(z[z > 0])) if (z > 0).any() else 1.0
        videodepth = torch.from_numpy(z / unit)[None, :, None]
        whole = np.array(K, np.float32)
        whole[:2, 2] -= 0.5  # its pixel centres are at whole numbers
        extra = {} if self.version == 1 else {"use_efficient_global_attn": False}

        def forward_only(order: slice) -> dict[str, np.ndarray]:
            index = np.arange(len(frames))[order].copy()
            with torch.no_grad(), importable(Path(self.path), PACKAGES):
                out = predictor(
                    video[:, index].to(device()),
                    videodepth[:, index].to(device()),
                    grid_query_frame=0,
                    predefined_intrs=torch.from_numpy(whole).to(device()),
                    **extra,
                )
            h, w = out["dense_reso"]
            maps = {
                "uv": out["trajs_uv"][0].reshape(-1, h, w, 2),
                "z": out["trajs_depth"][0].reshape(-1, h, w),
                "visible": out["vis"][0].reshape(-1, h, w),
                "confidence": out["conf"][0].reshape(-1, h, w),
            }
            arrays = {name: value.float().cpu().numpy() for name, value in maps.items()}
            return regrid(arrays, (height, width), unit)

        maps = both_ways(forward_only, len(frames), query_view)
        maps["z"][query_view] = depth.depth[query_view]
        return dense_tracks(frames, **maps, K=K, query=query_view)

    def _predictor(self) -> Any:
        ok, reason = self.is_available()
        if not ok:
            raise UserError(f"delta{'' if self.version == 1 else '-v2'} is not available: {reason}")
        folder, path = Path(self.path), Path(self.weights)
        state = load_weights(path)
        state = state.get("model", state)
        base = "densetrack3d.models"
        # one import for both: the predictor must see the model's own helpers
        with importable(folder, PACKAGES):
            if self.version == 1:
                module = load_module(None, PACKAGES, f"{base}.densetrack3d.densetrack3d")
                model = module.DenseTrack3D(**MODEL)
            else:
                module = load_module(None, PACKAGES, f"{base}.densetrack3d.densetrack3dv2")
                model = module.DenseTrack3DV2(**MODEL, coarse_to_fine_dense=True)
            wrap = load_module(None, PACKAGES, f"{base}.predictor.dense_predictor")
            fill_model(model, state, path)
            return wrap.DensePredictor3D(model=model).eval().to(device())


def regrid(
    maps: dict[str, np.ndarray], size: tuple[int, int], unit: float
) -> dict[str, np.ndarray]:
    """Maps [f, h, w, ...] of the network's own grid at our pixels; uv from whole-number centres.

    The network's grid spans the picture from the centre of its first pixel to that of its last.
    Motion is interpolated; z (times `unit`) and visibility are read at the nearest place.
    """
    height, width = size
    count, h, w = maps["z"].shape
    v, u = np.meshgrid(np.linspace(0, h - 1, height), np.linspace(0, w - 1, width), indexing="ij")
    place = np.stack([u, v], -1).astype(np.float32) + 0.5
    across = np.linspace(0, width - 1, w), np.linspace(0, height - 1, h)
    start = np.stack(np.meshgrid(*across), -1).astype(np.float32)
    grid = pixel_grid(height, width)
    uv = np.empty((count, height, width, 2), np.float32)
    for i, there in enumerate(maps["uv"]):
        motion = cv2.remap(
            np.ascontiguousarray(there - start, np.float32),
            place[..., 0] - 0.5, place[..., 1] - 0.5, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        uv[i] = grid + motion
    read = {
        name: np.stack([nearest(np.ascontiguousarray(m, np.float32), place) for m in maps[name]])
        for name in ("z", "visible", "confidence")
    }
    return {
        "uv": uv,
        "z": read["z"] * unit,
        "visible": read["visible"] > 0.5,
        "confidence": read["confidence"],
    }
