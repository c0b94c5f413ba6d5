"""DUSt3R confidence: the share of pixels whose 3-D position a network is sure of from two views.

Neighbouring views of every completed freeze-time video, both orders; a pixel's confidence is 1 or
more, thresholds are the paper's 2.0, 2.5 and 3.0. Comparable only between grids of the same camera
paths. Code is a user's checkout of DUSt3R, weights a local model folder (safetensors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fourreal.checkout import load_module
from scripts.evaluate.metrics.bootstrap import Estimate
from scripts.evaluate.metrics.gim import share_above, share_summary
from scripts.evaluate.metrics.images import floats_N3HW, with_long_edge
from scripts.evaluate.metrics.interface import Column, Metric, Needs, Record, References, Sample

CHECKOUT, WEIGHTS = "dust3r", "DUSt3R_ViTLarge_BaseDecoder_512_dpt"
LONG_EDGE, PATCH = 512, 16
THRESHOLDS = (2.0, 2.5, 3.0)


class Dust3rConfidence(Metric):
    name = "dust3r"
    needs: ClassVar = Needs(
        "CC BY-NC-SA 4.0 (code and weights: not for commercial use)",
        (CHECKOUT, WEIGHTS),
        "https://github.com/naver/dust3r (a recursive clone as dust3r/) and "
        f"https://huggingface.co/naver/{WEIGHTS} (the whole folder)",
        ("huggingface_hub", "einops"),
        "pip install -e '.[eval]'",
    )
    columns: ClassVar = tuple(
        Column(f"dust3r_{t:.1f}".replace(".", "_"), f"DUSt3R > {t:.1f}, %", True)
        for t in THRESHOLDS
    )

    def load(self) -> Any:
        packages = ("dust3r", "models", "croco")
        module = load_module(self.path(CHECKOUT), packages, "dust3r.model")
        model = module.AsymmetricCroCo3DStereo.from_pretrained(str(self.path(WEIGHTS)))
        return model.eval().to(self.device)

    def _view(self, picture_3HW: Tensor, index: int) -> dict[str, Any]:
        """A picture in 0..1 as the network takes it."""
        return {
            "img": (2 * picture_3HW - 1)[None].to(self.device),
            "true_shape": torch.tensor([picture_3HW.shape[-2:]], dtype=torch.int32),
            "idx": index,
            "instance": [str(index)],
        }

    @torch.no_grad()
    def measure(self, sample: Sample) -> Record:
        found = []
        for column in sample.columns:
            pictures = floats_N3HW(with_long_edge(column, LONG_EDGE, PATCH))
            for v in range(len(pictures) - 1):
                pair = self._view(pictures[v], 0), self._view(pictures[v + 1], 1)
                for first, second in (pair, pair[::-1]):
                    for prediction in self.network(first, second):
                        found.append(prediction["conf"].float().cpu().numpy())
        return {"share": share_above(found, THRESHOLDS)}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return share_summary(records, self.columns)
