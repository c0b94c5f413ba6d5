"""The word-level tokenizer and what it tells users; the text encoder's masking."""

from __future__ import annotations

import pytest
import torch

from gen.data.world.captions import VOCABULARY, canonical_caption
from gen.data.world.scene_sampling import sample_scenes
from gen.network.text import EMPTY, PAD, TextEncoder, Tokenizer, split_words


def test_words_are_split_without_punctuation_or_case():
    assert split_words("A Red ball, bouncing!") == ["a", "red", "ball", "bouncing"]


def test_encode_pads_and_marks_empty_texts():
    tok = Tokenizer(["red ball", "a"])
    ids = tok.encode(["a red ball", "", "ball"])
    assert ids.shape == (3, 3) and len(tok) == 5
    assert ids[1].tolist() == [EMPTY, PAD, PAD]
    assert ids[0, 2] == ids[2, 0] and (ids[0] > EMPTY).all()
    assert tok.encode(["a red ball"], 2).shape == (1, 2)
    assert tok.encode(["a"], 6).shape == (1, 6)


def test_every_caption_of_the_grammar_is_known():
    tok = Tokenizer(VOCABULARY)
    scenes = sample_scenes(20, torch.Generator().manual_seed(0))
    for i in range(20):
        assert tok.unknown(canonical_caption(scenes, i)) == []


def test_padding_does_not_change_a_text():
    torch.manual_seed(0)
    tok = Tokenizer(VOCABULARY)
    encoder = TextEncoder(len(tok), 32).eval()
    short, mask = encoder(tok.encode(["a red ball"]))
    long, long_mask = encoder(tok.encode(["a red ball"], 12))
    torch.testing.assert_close(long[:, :3], short)
    assert mask.all() and long_mask.sum() == 3


def test_order_of_words_matters():
    torch.manual_seed(0)
    tok = Tokenizer(VOCABULARY)
    encoder = TextEncoder(len(tok), 32).eval()
    a, _ = encoder(tok.encode(["a red ball beside a blue cube"]))
    b, _ = encoder(tok.encode(["a blue cube beside a red ball"]))
    assert (a.mean(1) - b.mean(1)).abs().max() > 1e-3


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Tokenizer([])
