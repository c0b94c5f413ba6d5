"""FVD: Frechet distance of video features, along time and along the views.

Two references, as in the paper: a large set of videos, and the input videos of the test set (the
fixed-view ones for the time axis, the freeze-time ones for the view axis). Two networks: I3D, the
usual one, and VideoMAE, which looks less at single frames and more at motion (Ge et al. 2024); both
through the package cd-fvd. They take clips of 16 frames: shorter and longer ones are resampled to
the nearest frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.checkout import load_weights
from fourreal.video_io import to_uint8
from scripts.evaluate.metrics.bootstrap import MISSING, Estimate
from scripts.evaluate.metrics.frechet import frechet_estimate
from scripts.evaluate.metrics.images import at_length
from scripts.evaluate.metrics.interface import (
    Clip,
    Column,
    InputPair,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    arrays_of,
)

FRAMES = 16
BATCH = 8
INSTALL = "pip install -e '.[eval]'"


class _FVD(Metric):
    """What both networks share: records of features, distances to the two references."""

    @torch.no_grad()
    def _features(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Features [N, D] of clips."""
        videos = np.stack([to_uint8(at_length(c, FRAMES)) for c in clips])
        parts = [self.forward(videos[i : i + BATCH]) for i in range(0, len(videos), BATCH)]
        return torch.cat(parts).flatten(1).float().cpu().numpy()

    def forward(self, videos_NTHWC: NDArray[np.uint8]) -> torch.Tensor:
        """Features of uint8 videos [N, 16, H, W, 3]."""
        raise NotImplementedError

    def measure(self, sample: Sample) -> Record:
        return {"time": self._features(sample.rows), "view": self._features(sample.columns)}

    def measure_inputs(self, pair: InputPair) -> Record:
        return {"time": self._features([pair.row]), "view": self._features([pair.column])}

    def measure_clip(self, clip: Clip) -> Record:
        return {"clip": self._features([clip])}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        out = {}
        large = arrays_of(references.large, "clip")
        for axis in ("time", "view"):
            made = arrays_of(records, axis)
            inputs = arrays_of(references.inputs, axis)
            for name, reference in (("", large), ("_test", inputs)):
                out[f"{self.name}{name}_{axis}"] = (
                    frechet_estimate(made, np.concatenate(reference)) if reference else MISSING
                )
        return out


def _columns(name: str, title: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{name}{key}_{axis}", f"{title}{text}, {axis}", False)
        for key, text in (("", ""), ("_test", "-Test"))
        for axis in ("time", "view")
    )


class I3DFVD(_FVD):
    name = "fvd"
    needs: ClassVar = Needs(
        "I3D weights (Kinetics-400): Apache-2.0",
        ("i3d_pretrained_400.pt",),
        "https://github.com/songweige/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
        ("cdfvd",),
        INSTALL,
        "--reference DIR of videos for the large set; the inputs for FVD-Test",
    )
    columns: ClassVar = _columns("fvd", "FVD")

    def load(self) -> Any:
        from cdfvd.third_party.i3d.utils import load_i3d_model

        load_weights(self.path(self.needs.files[0]))
        return load_i3d_model(self.device, str(self.path(self.needs.files[0]))).eval()

    def forward(self, videos_NTHWC: NDArray[np.uint8]) -> torch.Tensor:
        network = self.network
        from cdfvd.third_party.i3d.utils import preprocess_i3d

        return network(preprocess_i3d(videos_NTHWC).to(self.device))


class VideoMAEFVD(_FVD):
    name = "fvd_mae"
    needs: ClassVar = Needs(
        "VideoMAE-v2 weights (ViT-g, SSv2): CC BY-NC 4.0",
        ("vit_g_hybrid_pt_1200e_ssv2_ft.pth",),
        "https://huggingface.co/OpenGVLab/InternVideoMAE_models (mae-g/)",
        ("cdfvd",),
        INSTALL,
        "--reference DIR of videos for the large set; the inputs for FVD-Test",
    )
    columns: ClassVar = _columns("fvd_mae", "FVD (VideoMAE)")

    def load(self) -> Any:
        from cdfvd.third_party.VideoMAEv2.utils import load_videomae_model

        load_weights(self.path(self.needs.files[0]))
        return load_videomae_model(self.device, str(self.path(self.needs.files[0]))).eval()

    def forward(self, videos_NTHWC: NDArray[np.uint8]) -> torch.Tensor:
        network = self.network
        from cdfvd.third_party.VideoMAEv2.utils import preprocess_videomae

        return network.forward_features(preprocess_videomae(videos_NTHWC).to(self.device))
