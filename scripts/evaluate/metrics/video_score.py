"""VideoScore (He et al. 2024): a network trained on human ratings judges a video, from 1 to 4.

Of its five scores the paper keeps three; text alignment and motion say more about the inputs than
about the completed frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from scripts.evaluate.metrics.bootstrap import Estimate, mean_of
from scripts.evaluate.metrics.interface import (
    Clip,
    Column,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    values_of,
)

WEIGHTS = "VideoScore-v1.1"
FRAMES = 48  # the most that v1.1 takes
# The network's outputs in order; "" are those that the paper leaves out.
ASPECTS = ("visual", "temporal", "", "", "factual")
QUESTION = re.compile(r'REGRESSION_QUERY_PROMPT\s*=\s*"""(.*?)"""', re.DOTALL)


def question_of(folder: Path) -> str:
    """The question that the network was trained with, out of its model card (README.md); scores
    mean nothing for any other.  UserError when the card does not have it."""
    card = folder / "README.md"
    found = QUESTION.search(card.read_text()) if card.is_file() else None
    if not found or "{text_prompt}" not in found[1]:
        raise UserError(f"{card} holds no REGRESSION_QUERY_PROMPT; get the whole model folder")
    return found[1]


@dataclass
class Judge:
    """The network with what turns a video and a text into its inputs."""

    model: Any
    processor: Any
    question: str

    @torch.no_grad()
    def __call__(self, clip: Clip, prompt: str, device: torch.device) -> NDArray[np.float32]:
        """The scores of a clip, in the order of `ASPECTS`."""
        from PIL import Image

        index = np.linspace(0, len(clip) - 1, min(len(clip), FRAMES)).astype(int)
        pictures = [Image.fromarray(frame) for frame in to_uint8(clip[index])]
        text = self.question.format(text_prompt=prompt) + "<image> " * len(pictures)
        inputs = self.processor(text=text, images=pictures, return_tensors="pt")
        logits = self.model(**{k: v.to(device) for k, v in inputs.items()}).logits
        return logits[0].float().cpu().numpy()


class VideoScore(Metric):
    name = "video_score"
    needs: ClassVar = Needs(
        "MIT (code and v1.1 weights; its base Idefics2: Apache-2.0)",
        (WEIGHTS,),
        f"https://huggingface.co/TIGER-Lab/{WEIGHTS} (the whole folder, 16 GB)",
        ("transformers", "mantis"),
        "pip install git+https://github.com/TIGER-AI-Lab/VideoScore",
    )
    columns: ClassVar = tuple(
        Column(f"{key}_{axis}", f"{title}, {axis}", True)
        for key, title in (
            ("visual", "Visual quality"),
            ("temporal", "Temporal consistency"),
            ("factual", "Factual consistency"),
        )
        for axis in ("time", "view")
    )

    def load(self) -> Judge:
        from mantis.models.idefics2 import Idefics2ForSequenceClassification
        from transformers import AutoProcessor

        folder = str(self.path(WEIGHTS))
        options = {"torch_dtype": torch.bfloat16, "local_files_only": True}
        model = Idefics2ForSequenceClassification.from_pretrained(folder, **options)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        return Judge(model.eval().to(self.device), processor, question_of(self.path(WEIGHTS)))

    def measure(self, sample: Sample) -> Record:
        judge = self.network
        record: Record = {}
        for axis, clips in (("time", sample.rows), ("view", sample.columns)):
            scores = np.stack([judge(clip, sample.prompt, self.device) for clip in clips])
            for i, key in enumerate(ASPECTS):
                if key:
                    record[f"{key}_{axis}"] = scores[:, i]
        return record

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return {c.key: mean_of(values_of(records, c.key)) for c in self.columns}
