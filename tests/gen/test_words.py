"""Prompts are read in the words that a model knows, and users are told how."""

from __future__ import annotations

import numpy as np
import pytest

from fourreal.errors import UserError
from gen import sentence
from gen.data.assets.captions import vocabulary
from gen.data.world.captions import VOCABULARY
from gen.network.text import split_words
from gen.words import (
    ALIKE,
    INFLECTED,
    SAME,
    askable,
    check_words,
    nearest,
    read,
    subject_prompts,
    subject_words,
)

KNOWN = sorted({*VOCABULARY, *vocabulary()})


def test_known_words_stay_as_they_are():
    prompt = "a red ball bouncing beside a blue cube on a checkered floor"
    found = read(prompt, KNOWN)
    assert found.text == prompt and not found.taken and not found.unknown


@pytest.mark.parametrize(
    "word, known, similarity",
    [
        ("horses", "horse", INFLECTED),
        ("galloped", "galloping", INFLECTED),
        ("puppy", "dog", SAME),
        ("stallions", "horse", SAME),
        ("fox", "dog", ALIKE),
        ("zebra", "horse", ALIKE),
        ("maroon", "red", ALIKE),
    ],
)
def test_near_words_are_taken_for_known_ones(word, known, similarity):
    taken = nearest(word, KNOWN)
    assert taken is not None
    assert split_words(taken.known)[0][:4] == known[:4] and taken.similarity == similarity


@pytest.mark.parametrize("word", ["zxqv", "wqk", "quokkas", "purring", "xylophone"])
def test_far_words_are_taken_for_nothing(word):
    assert ALIKE < SAME < INFLECTED < 1
    assert nearest(word, KNOWN) is None


def test_only_words_of_the_vocabulary_are_ever_said():
    few = ["a", "ball", "red", "bouncing"]
    found = read("a crimson sphere hopping on a beach", few)
    assert set(found.text.split()) <= set(few)
    assert found.unknown == ("on", "beach")


def test_unknown_words_are_named_and_unknown_prompts_refused(capsys):
    check_words("a red ball bouncing", KNOWN)
    out = capsys.readouterr()
    assert out.err == "" and out.out == ""
    check_words("a red puppy zxqv wqk zxqv", KNOWN)
    out = capsys.readouterr()
    assert "zxqv, wqk" in out.err and "'puppy' is taken for 'dog' (similarity 0.85)" in out.out
    for prompt in ("purring quokkas", "", "!!"):
        with pytest.raises(UserError, match="ball.*cube.*horse") as error:
            check_words(prompt, KNOWN)
        assert "bouncing" not in str(error.value) and "checkered" not in str(error.value)


def test_a_prompt_without_a_subject_is_told_the_subjects(capsys):
    check_words("galloping on grass", KNOWN)
    assert "can show: alpaca, ball" in capsys.readouterr().err


def test_subjects_are_those_of_the_vocabulary():
    assert subject_words(["a", "ball", "horse", "red"]) == ["ball", "horse"]
    assert {"horse", "cow", "dog", "spider", "knight"} <= set(subject_words(KNOWN))


def test_what_can_be_asked_for_is_spoken_in_known_words_alone():
    groups = askable(KNOWN)
    assert {"ball", "horse", "toy"} <= set(groups["subjects"])
    assert "galloping" in groups["actions"] and "on snow" in groups["places"]
    for n in (5, 40, len(KNOWN)):
        few = KNOWN[:n]
        for words in askable(few).values():
            assert all(set(split_words(w)) <= set(few) for w in words)
    prompts = subject_prompts(KNOWN)
    assert len(prompts) == len(groups["subjects"])
    for prompt in prompts:
        assert not read(prompt, KNOWN).unknown


def test_the_encoder_is_asked_for_words_of_no_group_alone(monkeypatch):
    asked = []

    def nearest_of(word, known):
        asked.append(word)
        return known[0], {"lizard": 0.6, "zxqv": 0.3}[word]

    monkeypatch.setattr(sentence, "available", lambda: True)
    monkeypatch.setattr(sentence, "nearest", nearest_of)
    assert nearest("puppy", KNOWN).similarity == SAME and nearest("horse", KNOWN).similarity == 1
    assert asked == []
    assert nearest("lizard", KNOWN).similarity == 0.6 and nearest("zxqv", KNOWN) is None
    monkeypatch.setattr(sentence, "available", lambda: False)
    assert nearest("lizard", KNOWN) is None


@pytest.mark.skipif(not sentence.available(), reason="the extra [words] is not installed")
def test_the_encoder_knows_what_is_near():
    assert nearest("cat", KNOWN).known in ("dog", "doggy") and nearest("ocean", KNOWN) is not None
    same = sentence.embed(("a red ball", "xylophone"))
    assert same.shape == (2, 384) and np.allclose(np.linalg.norm(same, axis=1), 1, atol=1e-5)
    alone = sentence.embed(("a red ball",))[0]
    assert float(alone @ same[0]) > 0.98  # padding changes little (8-bit weights)
