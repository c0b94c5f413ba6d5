"""Depth Anything V2 through transformers, from a local folder: affine disparity, no intrinsics.

Only the Small model is Apache-2.0; Base and Large are non-commercial. The result must be aligned
to triangulated depth before use (``tracking.depth.guided``).
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from fourreal.console import warn
from fourreal.errors import UserError
from tracking.backends.requirements import device, why_not
from tracking.protocols import Depth

SHORT_SIDE, PATCH = 518, 14
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SMALL_WIDTH = 384  # hidden size of the Small backbone


class DepthAnything:
    """Disparity of every frame up to scale and shift."""

    def __init__(self, path: str, weights: str) -> None:
        """weights: a folder with config.json and model.safetensors; path is not used."""
        self.weights = weights or path

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        reason = why_not("", (), self.weights, ("transformers",), "")
        if not reason:
            for name in ("config.json", "model.safetensors"):
                if not (Path(self.weights) / name).is_file():
                    reason = f"{self.weights} has no {name}; give the model's folder"
                    break
        return not reason, reason

    def __call__(self, frames: np.ndarray) -> Depth:
        """frames float32 [F, H, W, 3] in 0..1 -> disparity, larger is nearer."""
        ok, reason = self.is_available()
        if not ok:
            raise UserError(f"depth-anything is not available: {reason}")
        config = json.loads((Path(self.weights) / "config.json").read_text())
        if config.get("depth_estimation_type") == "metric":
            raise UserError(f"{self.weights} is a metric model; give the relative Small one")
        if config.get("backbone_config", {}).get("hidden_size", SMALL_WIDTH) != SMALL_WIDTH:
            warn("depth-anything: only the Small model is Apache-2.0; this one is non-commercial")
        from transformers import AutoModelForDepthEstimation

        try:
            model = AutoModelForDepthEstimation.from_pretrained(
                self.weights, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{self.weights} cannot be loaded ({str(error)[:160]})") from error
        model = model.eval().to(device())
        height, width = frames.shape[1:3]
        factor = SHORT_SIDE / min(height, width)
        h, w = (max(PATCH, round(s * factor / PATCH) * PATCH) for s in (height, width))
        out = np.empty(frames.shape[:3], np.float32)
        for i, frame in enumerate(frames):
            image = (cv2.resize(frame, (w, h), interpolation=cv2.INTER_CUBIC) - MEAN) / STD
            pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
            with torch.no_grad():
                found = model(pixel_values=pixels.to(device())).predicted_depth
            disparity = found.reshape(found.shape[-2:]).float().cpu().numpy()
            out[i] = cv2.resize(disparity, (width, height), interpolation=cv2.INTER_LINEAR)
        return Depth(out, np.full(out.shape, 0.5, np.float32), None, "disparity")
