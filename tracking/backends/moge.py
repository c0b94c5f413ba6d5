"""MoGe and MoGe-2 (Wang et al. 2025, MIT): monocular depth and intrinsics, from local weights.

Interface as in github.com/microsoft/MoGe (read at 0744441): ``moge.model.v1`` / ``v2``
``MoGeModel.from_pretrained(FILE)`` (a file that exists is never looked for on a hub) and
``infer(image [3, H, W] in 0..1)`` -> depth [H, W], infinite where masked, and intrinsics [3, 3] in
units of the picture's width and height.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourreal.checkout import importable, load_module, load_weights
from fourreal.errors import UserError
from tracking.backends.requirements import device, why_not
from tracking.protocols import Depth

PACKAGES = ("moge",)
HINT = "git clone https://github.com/microsoft/MoGe, or install it and leave the path empty"


class MoGe:
    """Depth of every frame with the focal length that it implies."""

    def __init__(self, path: str, weights: str) -> None:
        """path: the checkout, or empty for an installed package; weights: model.pt."""
        self.path, self.weights = path, weights

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        needed = ("moge/model/__init__.py",) if self.path else ()
        modules = ("utils3d", "huggingface_hub") + (() if self.path else ("moge",))
        reason = why_not(self.path, needed, self.weights, modules, HINT)
        if not reason and not Path(self.weights).is_file():
            reason = f"{self.weights} is no file; give model.pt"
        return not reason, reason

    def __call__(self, frames: np.ndarray) -> Depth:
        """frames float32 [F, H, W, 3] in 0..1 -> depth, each frame at its own scale."""
        model, metric = self._model()
        height, width = frames.shape[1:3]
        depth = np.empty(frames.shape[:3], np.float32)
        confidence = np.empty(frames.shape[:3], np.float32)
        focals = []
        for i, frame in enumerate(frames):
            image = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
            with torch.no_grad(), importable(self._folder(), PACKAGES):
                out = model.infer(image.to(device()), use_fp16=device().type == "cuda")
            z = out["depth"].float().cpu().numpy()
            good = np.isfinite(z) & (z > 0)
            # what it masks (sky, a blank backdrop) lies behind everything else
            far = float(z[good].max()) * 1.2 if good.any() else 1.0
            depth[i], confidence[i] = np.where(good, z, far), np.where(good, 0.8, 0.05)
            K = out["intrinsics"].float().cpu().numpy()
            focals.append(0.5 * (K[0, 0] * width + K[1, 1] * height))
        f = float(np.median(focals))
        K = np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1.0]])
        return Depth(depth, confidence, K, "metric" if metric else "scale")

    def _folder(self) -> Path | None:
        return Path(self.path) if self.path else None

    def _model(self) -> tuple[Any, bool]:
        """The network and whether its depth is metric (version 2 with a scale head)."""
        ok, reason = self.is_available()
        if not ok:
            raise UserError(f"moge is not available: {reason}")
        stored = load_weights(Path(self.weights))
        config = stored.get("model_config")
        if not isinstance(config, dict):
            raise UserError(f"{self.weights} has no 'model_config': not a checkpoint of MoGe")
        version = "v2" if "neck" in config else "v1"
        with importable(self._folder(), PACKAGES):
            module = load_module(None, PACKAGES, f"moge.model.{version}")
            model = module.MoGeModel.from_pretrained(self.weights)
        return model.eval().to(device()), config.get("scale_head") is not None
