"""AllTracker (Harley et al. 2025, MIT): dense 2-D tracks from a user's checkout and checkpoint.

Interface as in its demo (github.com/aharley/alltracker, read at c1ed462): ``nets.alltracker.Net``,
checkpoint ``{"model": state}``, ``forward_sliding(rgbs [1, T, 3, H, W] in 0..255)`` -> flows and
(visibility, confidence) [1, T, 2, H, W] of the first frame's pixels, forwards only; a clip of two
frames gives [1, 2, H, W] for its second frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from tracking.protocols import Depth
from tracking.tracks import Tracks

PACKAGES = ("nets", "utils")
WINDOW = 16
HINT = "git clone https://github.com/aharley/alltracker"


class AllTracker:
    """Dense 2-D tracks; depth comes from a DepthEstimator."""

    def __init__(self, path: str, weights: str, long_side: int = 1024) -> None:
        """path: the checkout; weights: alltracker.pth or alltracker_tiny.pth; long_side: size
        that frames are enlarged or reduced to, as its demo does."""
        self.path, self.weights, self.long_side = path, weights, long_side

    def is_available(self) -> tuple[bool, str]:
        """(usable, reason when it is not)."""
        needed = ("nets/alltracker.py", "utils/misc.py")
        reason = why_not(self.path, needed, self.weights, ("einops", "torchvision"), HINT)
        return not reason, reason

    def __call__(
        self, frames: np.ndarray, depth: Depth | None, K: np.ndarray | None, query_view: int
    ) -> Tracks:
        """frames float32 [F, H, W, 3] in 0..1, depth and K of them -> tracks of the query view."""
        if depth is None or K is None:
            raise UserError("alltracker follows pixels only: it needs a depth estimator and K")
        model = self._model()
        height, width = frames.shape[1:3]
        factor = self.long_side / max(height, width)
        # the network works on multiples of 8 pixels
        h, w = (max(8, int(s * factor) // 8 * 8) for s in (height, width))
        clip = np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_LINEAR) for f in frames])
        video = torch.from_numpy(clip.transpose(0, 3, 1, 2) * 255.0)[None]
        grid = pixel_grid(height, width)

        def forward_only(order: slice) -> dict[str, np.ndarray]:
            index = np.arange(len(frames))[order]
            with torch.no_grad(), importable(Path(self.path), PACKAGES), _cuda_if_there():
                flow, sure, *_ = model.forward_sliding(
                    video[:, index.copy()].to(device()), iters=4, sw=None, is_training=False
                )
            if flow.ndim == 4:  # two frames: only the second is given
                flow = torch.stack([torch.zeros_like(flow), flow], 1)
                sure = torch.stack([torch.ones_like(sure), sure], 1)
            flow, sure = flow[0].float().cpu().numpy(), sure[0].float().cpu().numpy()
            scale = np.array([width / w, height / h])
            uv, seen, trust = [], [], []
            for f, s in zip(flow.transpose(0, 2, 3, 1), sure, strict=True):
                uv.append(grid + cv2.resize(f, (width, height)) * scale)
                seen.append(cv2.resize(s[0] * s[1], (width, height)))
                trust.append(cv2.resize(s[1], (width, height)))
            return {
                "uv": np.stack(uv),
                "visible": np.stack(seen) > 0.6,
                "confidence": np.stack(trust),
            }

        maps = both_ways(forward_only, len(frames), query_view)
        return dense_tracks(frames, **maps, K=K, query=query_view, depth=depth.depth)

    def _model(self) -> Any:
        ok, reason = self.is_available()
        if not ok:
            raise UserError(f"alltracker is not available: {reason}")
        path = Path(self.weights)
        state = load_weights(path)
        state = state.get("model", state)
        # the tiny variant has another encoder, named fnet
        tiny = any(name.startswith("fnet.") for name in state)
        kwargs = {"use_basicencoder": True, "no_split": True} if tiny else {}
        net = load_module(Path(self.path), PACKAGES, "nets.alltracker").Net
        with importable(Path(self.path), PACKAGES):
            model = net(WINDOW, **kwargs)
        fill_model(model, state, path)
        return model.eval().to(device())


@contextmanager
def _cuda_if_there() -> Iterator[None]:
    """The network moves frames to CUDA unasked; without CUDA that call is made to do nothing."""
    if torch.cuda.is_available():
        yield
        return
    move = torch.Tensor.cuda
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.Tensor.cuda = move  # type: ignore[method-assign]
