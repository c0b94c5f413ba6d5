"""MEt3R (Asim et al. 2025): features of two views, warped onto each other through the 3-D that
MASt3R sees in them, compared; 0 is consistent. 4Real-Video-V2 reports it.

Needs a CUDA device and PyTorch3D. The package looks for its networks by name; here they are found
in the weights folder: MASt3R as a model folder, FeatUp and DINO in a torch.hub folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from fourreal.video_io import resize_frames
from scripts.evaluate.metrics.bootstrap import Estimate, mean_of
from scripts.evaluate.metrics.images import floats_N3HW
from scripts.evaluate.metrics.interface import (
    Column,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    values_of,
)

WEIGHTS, HUB = "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric", "met3r_hub"
SIZE = 256


class MEt3R(Metric):
    name = "met3r"
    needs: ClassVar = Needs(
        "CC BY-NC-SA 4.0 (MASt3R: not for commercial use); MEt3R, FeatUp: MIT",
        (WEIGHTS, HUB),
        f"https://huggingface.co/naver/{WEIGHTS} (the whole folder) and a torch.hub folder with "
        "mhamilton723_FeatUp_main and facebookresearch_dino_main",
        ("met3r", "pytorch3d"),
        "pip install git+https://github.com/mohammadasim98/met3r (CUDA, PyTorch3D)",
    )
    columns: ClassVar = (Column("met3r", "MEt3R", False),)

    def is_available(self) -> tuple[bool, str]:
        ok, reason = super().is_available()
        if ok and self.device.type != "cuda":
            return False, "needs a CUDA device (--device cuda)"
        return ok, reason

    def load(self) -> Any:
        torch.hub.set_dir(str(self.path(HUB)))
        module = importlib.import_module("met3r.met3r")
        module.backbone_to_weights["mast3r"] = str(self.path(WEIGHTS))
        model = module.MEt3R(img_size=SIZE, backbone="mast3r", feature_backbone="dino16")
        return model.eval().to(self.device)

    @torch.no_grad()
    def measure(self, sample: Sample) -> Record:
        scores = []
        for column in sample.columns:
            pictures = 2 * floats_N3HW(resize_frames(column, SIZE, SIZE)).to(self.device) - 1
            pairs = torch.stack([pictures[:-1], pictures[1:]], 1)  # [V - 1, 2, 3, H, W]
            for pair in pairs:  # one at a time bounds the memory
                score, *_ = self.network(images=pair[None])
                scores.append(float(score.mean()))
        return {"score": np.array(scores)}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return {"met3r": mean_of(values_of(records, "score"))}
