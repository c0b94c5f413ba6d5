"""CLIP score: how well completed frames fit their prompt (100 x cosine, not below 0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from scripts.evaluate.metrics.bootstrap import Estimate, mean_of
from scripts.evaluate.metrics.images import bytes_N3HW
from scripts.evaluate.metrics.interface import (
    Column,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    values_of,
)

WEIGHTS = "openai/clip-vit-base-patch16"  # torchmetrics knows CLIP by the "openai" in its path


class ClipScore(Metric):
    """Mean over the completed frames of a grid, then over grids. The prompt is cut to what the
    text encoder takes."""

    name = "clip"
    needs: ClassVar = Needs(
        "MIT",
        (WEIGHTS,),
        "https://huggingface.co/openai/clip-vit-base-patch16 (the whole folder)",
        ("torchmetrics", "transformers"),
        "pip install -e '.[eval]'",
        "prompts",
    )
    columns: ClassVar = (Column("clip", "CLIP", True),)

    def load(self) -> Any:
        from torchmetrics.multimodal.clip_score import CLIPScore

        return CLIPScore(model_name_or_path=str(self.path(WEIGHTS))).to(self.device)

    @torch.no_grad()
    def measure(self, sample: Sample) -> Record:
        if not sample.prompt:
            return {}
        made = sample.frames[1:, 1:]
        pictures = bytes_N3HW(made.reshape(-1, *made.shape[2:])).to(self.device)
        metric = self.network
        metric.reset()
        metric.update(list(pictures), [sample.prompt] * len(pictures))
        return {"score": np.array([float(metric.compute())])}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return {"clip": mean_of(values_of(records, "score"))}
