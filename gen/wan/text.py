"""Words for Wan: how a prompt is turned into what the streams attend to.

Wan has no switch between moving scenes and frozen ones (paper 3.1 learns one), so each stream is
told in words what kind of clip it makes, as a text context of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gen.network.dit import Mode
from gen.wan.params import TEXT_TOKENS

CONTEXTS: dict[Mode, str] = {
    Mode.DYNAMIC: "The camera stands still on a tripod, fixed viewpoint, while the scene moves.",
    Mode.FREEZE_TIME: (
        "Bullet time: the moment is frozen, everything stands perfectly still, only the camera "
        "moves slowly around the scene."
    ),
}
CACHED_TEXTS = 256


def in_mode(prompt: str, mode: Mode) -> str:
    """A prompt (perhaps empty) with the words that say what kind of clip it is."""
    prompt = " ".join(prompt.split())
    if not prompt:
        return CONTEXTS[mode]
    stop = "" if prompt[-1] in ".!?" else "."
    return f"{prompt}{stop} {CONTEXTS[mode]}"


class TextFeatures:
    """Tokenizer and UMT5 encoder; recent texts are remembered."""

    def __init__(self, tokenizer: Any, encoder: Any, length: int = TEXT_TOKENS):
        self.tokenizer, self.encoder, self.length = tokenizer, encoder, length
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Features [B, length, D] on the CPU, zero behind the words of each text."""
        missing = [t for t in dict.fromkeys(texts) if t not in self._known]
        for text in missing:
            self._known[text] = self._encode(text)
        out = torch.stack([self._known[t] for t in texts])
        for text in texts:
            self._known.move_to_end(text)
        while len(self._known) > CACHED_TEXTS:
            self._known.popitem(last=False)
        return out

    def _encode(self, text: str) -> Tensor:
        device = next(self.encoder.parameters()).device
        tokens = self.tokenizer(
            [text], padding="max_length", max_length=self.length, truncation=True,
            add_special_tokens=True, return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        mask = tokens.attention_mask
        features = self.encoder(tokens.input_ids.to(device), mask.to(device)).last_hidden_state
        words = int(mask.sum())
        out = features[0].float().cpu()
        out[words:] = 0  # as the pre-trained models saw it
        return out
