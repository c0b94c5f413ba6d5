"""Word-level tokenizer and the small text encoder trained together with the base model.

The vocabulary is that of the caption grammar at training time and is stored with the weights, so
that a prompt is always read with the words the network has seen.

Shape legend: B prompts, L words, D text width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 0
EMPTY = 1  # the one token of an empty prompt: what text dropout and guidance use
SPECIAL = 2
MAX_WORDS = 48


def split_words(text: str) -> list[str]:
    """Lower-case words of letters, digits and inner hyphens; punctuation only separates."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower())


class Tokenizer:
    """Words -> indices, for one fixed vocabulary (sorted, without repetition)."""

    def __init__(self, vocabulary: Iterable[str]):
        words = {word for entry in vocabulary for word in split_words(entry)}
        self.words: list[str] = sorted(words)
        if not self.words:
            raise ValueError("the vocabulary is empty")
        self._index = {word: SPECIAL + i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return SPECIAL + len(self.words)

    def unknown(self, text: str) -> list[str]:
        """Words of `text` outside the vocabulary, in order, each once."""
        return list(dict.fromkeys(w for w in split_words(text) if w not in self._index))

    def encode(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """[B] texts -> int64 [B, L], padded with `PAD`; an empty text is the one token `EMPTY`.

        L is `length` (longer texts are cut) or else the longest text's number of known words, at
        most `MAX_WORDS`.

        Unknown words are left out silently: `gen.words` is where a user hears about them.
        """
        rows = []
        for text in texts:
            ids = [self._index[w] for w in split_words(text) if w in self._index]
            ids = ids[: length or MAX_WORDS]
            rows.append(ids or [EMPTY])
        length = length or max(len(row) for row in rows)
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


class TextLayer(nn.Module):
    """Pre-norm transformer layer over the words of one prompt."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        h = self.norm1(x_BLD)
        q, k, v = split(self.q(h)), split(self.k(h)), split(self.v(h))
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None, :])
        x = x_BLD + self.out(a.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextEncoder(nn.Module):
    """Indices [B, L] -> (features [B, L, D], mask [B, L])."""

    def __init__(self, vocabulary_size: int, width: int, layers: int = 2, heads: int = 4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.position = nn.Embedding(MAX_WORDS, width)
        self.layers = nn.ModuleList(TextLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.position.weight, std=0.1)

    def forward(self, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        mask = ids_BL != PAD
        x = self.embedding(ids_BL) + self.position.weight[: ids_BL.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x), mask
