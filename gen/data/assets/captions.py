"""Captions of asset scenes: a grammar with synonyms over the words of the procedural world, and
the way back.

"a brown horse galloping on grass under a blue sky": coat, subject, action, ground, light, each in
several wordings; ground, light, and the facing side are sometimes left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator

from gen.data.assets.menagerie import ACTIONS, BY_NAME, COAT_WORDS, SUBJECTS
from gen.data.assets.scenes import Actor, AssetScene
from gen.data.wording import Wording, longest_phrase
from gen.data.world.captions import (
    CAMERA_PHRASES,
    FLOOR_PHRASES,
    FROZEN_PHRASES,
    LEFT_OF_PHRASES,
    SKY_PHRASES,
)
from gen.network.text import split_words

GROUND_PHRASES: dict[str, tuple[str, ...]] = {
    **{k: FLOOR_PHRASES[k] for k in ("plain", "checkered", "wooden", "grassy")},
    "sand": ("on sand", "on a beach", "in the desert"),
    "snow": ("on snow", "in the snow"),
}
LIGHT_PHRASES: dict[str, tuple[str, ...]] = {
    **SKY_PHRASES,
    "water": ("under water", "in the sea", "in the ocean"),
}
FACING = {"left": ("facing left", "to the left"), "right": ("facing right", "to the right")}


def facing(actor: Actor) -> str | None:
    """The side of the picture a subject looks to at the start; None when to or from the camera."""
    across = math.sin(actor.heading)
    return None if abs(across) < 0.6 else ("right" if across > 0 else "left")


def _actor(actor: Actor, say: Wording, say_action: bool = True) -> str:
    noun = say.pick(BY_NAME[actor.subject].nouns, 0.65)
    if actor.coat is not None and say.chance(0.8):
        noun = f"{say.pick(COAT_WORDS[actor.coat], 0.75)} {noun}"
    text = ("an " if noun[0] in "aeiou" else "a ") + noun
    if say_action:
        participle, third = say.pick(ACTIONS[actor.action][1], 0.65)
        text += f" {participle}" if say.chance(0.65) else f" {third}"
    side = facing(actor)
    if side is not None and say.generator is not None and say.chance(0.35):
        text += " " + say.pick(FACING[side])
    return text


def caption(scene: AssetScene, generator: Generator | None = None, freeze: bool = False) -> str:
    """A caption of a scene, lower case without punctuation: random words, or the canonical ones.
    Scenes for completion ("wide") have none.

    freeze: the clip is a freeze-time column: time may stand still, the camera move may be named.
    """
    if scene.look == "wide":
        return ""
    say = Wording(generator)
    text = _actor(scene.actors[0], say)
    if len(scene.actors) == 2:
        joint = "and" if say.generator is not None and say.chance(0.3) else None
        text += f" {joint or say.pick(LEFT_OF_PHRASES[:2])} {_actor(scene.actors[1], say)}"
    if say.chance(0.8):
        text += " " + say.pick(GROUND_PHRASES[scene.ground.kind])
    if say.chance(0.9 if scene.light == "water" else 0.35):
        text += " " + say.pick(LIGHT_PHRASES[scene.light])
    if freeze:
        if say.chance(0.3):
            text += " " + say.pick(FROZEN_PHRASES)
        if say.chance(0.4):
            text += " while " + say.pick(CAMERA_PHRASES["arc_left"])
    return text


def vocabulary() -> list[str]:
    """All words of the grammar, sorted."""
    phrases: list[str] = ["a an and is while", *LEFT_OF_PHRASES[:2], *FROZEN_PHRASES]
    phrases += [n for s in SUBJECTS for n in s.nouns]
    for table in (COAT_WORDS, GROUND_PHRASES, LIGHT_PHRASES, FACING):
        phrases += [p for group in table.values() for p in group]
    phrases += [p for _, group in ACTIONS.values() for pair in group for p in pair]
    phrases += CAMERA_PHRASES["arc_left"]
    return sorted({w for p in phrases for w in split_words(p)})


@dataclass(frozen=True)
class Said:
    """What a prompt names of the asset world; None: not said."""

    subject: str | None
    coat: str | None
    action: str | None
    ground: str | None
    light: str | None


def _find(words: list[str], table: dict[str, tuple[str, ...]]) -> tuple[str | None, list[str]]:
    """The key of the longest of the phrases that stands in `words`, and the words without it."""
    found = {key: longest_phrase(words, map(split_words, group)) for key, group in table.items()}
    key, (at, n) = max(found.items(), key=lambda item: item[1][1])
    return (key, [*words[:at], *words[at + n :]]) if n else (None, words)


def parse_asset_prompt(text: str) -> Said:
    """What the prompt says of its first subject and of the place."""
    # the place first: a blue sky is no coat
    light, words = _find(split_words(text), LIGHT_PHRASES)
    ground, words = _find(words, GROUND_PHRASES)
    second = [i for i, w in enumerate(words) if w in ("beside", "next", "and") and i > 1]
    words = words[: second[0]] if second else words
    actions = {a: tuple(p for pair in group for p in pair) for a, (_, group) in ACTIONS.items()}
    action, words = _find(words, actions)
    subject, words = _find(words, {s.name: s.nouns for s in SUBJECTS})
    return Said(subject, _find(words, COAT_WORDS)[0], action, ground, light)
