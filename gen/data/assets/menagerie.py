"""The subjects of the asset world: which file shows what, what it can do, which coats it may wear.

Only assets kept for training are here; those that figures are measured on (the fox, the robot, the
stag and the koi) are not, so nothing of this world can be learned from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gen.data.gltf.animation import Clip

# sRGB of the coats that a material may be given.
COATS: dict[str, tuple[float, float, float]] = {
    "brown": (0.50, 0.32, 0.19),
    "white": (0.92, 0.91, 0.88),
    "black": (0.13, 0.13, 0.14),
    "grey": (0.55, 0.56, 0.58),
    "golden": (0.86, 0.66, 0.30),
    "orange": (0.96, 0.50, 0.12),
    "red": (0.80, 0.15, 0.13),
    "yellow": (0.95, 0.83, 0.25),
    "green": (0.34, 0.62, 0.25),
    "blue": (0.20, 0.36, 0.82),
    "purple": (0.50, 0.22, 0.68),
}
COAT_WORDS: dict[str, tuple[str, ...]] = {
    "brown": ("brown", "chestnut"),
    "white": ("white",),
    "black": ("black", "dark"),
    "grey": ("grey", "gray", "silver"),
    "golden": ("golden", "tan"),
    "orange": ("orange",),
    "red": ("red", "crimson"),
    "yellow": ("yellow",),
    "green": ("green", "emerald"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
}
_FUR = ("brown", "white", "black", "grey", "golden")
_SCALES = ("orange", "blue", "yellow", "red", "purple")


@dataclass(frozen=True)
class Subject:
    """One asset of the world.

    Attributes:
        file: its name without .glb.
        nouns: words for it, the canonical one first.
        natural: the coat its own colours are called by; None: no colour is said.
        coats: coats it may wear besides (its own colours keep their tones).
        coat_materials: what is recoloured: materials whose names match this pattern.
        reach: length or height in the world (the larger), in units of about one object height.
        home: "ground", or "water" for what swims.
    """

    file: str
    nouns: tuple[str, ...]
    natural: str | None
    coats: tuple[str, ...]
    coat_materials: str
    reach: float
    home: str = "ground"

    @property
    def name(self) -> str:
        return self.nouns[0]


SUBJECTS: tuple[Subject, ...] = (
    Subject("quaternius_Horse", ("horse", "pony"), "brown", _FUR, r"Main.*", 1.75),
    Subject("quaternius_Cow", ("cow", "cattle"), "brown", _FUR, r"Main", 1.65),
    Subject("quaternius_Alpaca", ("alpaca", "llama"), "brown", _FUR, r"Main.*", 1.6),
    Subject("quaternius_Husky", ("dog", "husky", "wolf"), "grey", _FUR, r"Material(\.001)?", 1.5),
    Subject(
        "quaternius_Frog", ("frog", "toad"), "green",
        ("green", "blue", "red", "yellow", "purple"), r"Green", 1.3,
    ),
    Subject(
        "quaternius_Spider", ("spider", "tarantula"), "black", ("black", "red", "blue"),
        r"Material", 1.5,
    ),
    Subject(
        "quaternius_Clownfish", ("clownfish", "fish"), "orange", _SCALES,
        r"Clownfish_Main", 1.5, "water",
    ),
    Subject(
        "quaternius_Puffer", ("pufferfish", "puffer"), "yellow", _SCALES, r"Pufferfish_Main",
        1.35, "water",
    ),
    Subject(
        "quaternius_Tank", ("tank", "vehicle"), "green", ("green", "grey", "blue", "red", "yellow"),
        r"Main.*", 1.7,
    ),
    Subject(
        "quaternius_KnightCharacter", ("knight", "soldier"), "grey",
        ("grey", "golden", "red", "blue"), r"Armor", 1.45,
    ),
    Subject("kaykit_Barbarian", ("barbarian", "warrior", "viking"), None, (), r"", 1.5),
    Subject("kaykit_Rogue_Hooded", ("rogue", "thief", "hooded man"), None, (), r"", 1.5),
    Subject("kenney_character", ("toy", "toy robot"), None, (), r"", 1.3),
)  # fmt: skip
BY_NAME = {s.name: s for s in SUBJECTS}

# Participle and third person of every action, canonical first, and the clips that show it.
ACTIONS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "gallop": (r"gallop$", (("galloping", "gallops"), ("running fast", "runs fast"))),
    "run": (r"run(ning)?(_|$)", (("running", "runs"), ("jogging", "jogs"))),
    "walk": (r"walk", (("walking", "walks"), ("strolling", "strolls"))),
    "jump": (r"jump", (("jumping", "jumps"), ("leaping", "leaps"))),
    "kick": (r"kick", (("kicking", "kicks"),)),
    "attack": (
        r"attack|stab|slice|chop|punch|headbutt|throw|spellcast|shoot|block",
        (("attacking", "attacks"), ("fighting", "fights")),
    ),
    "eat": (r"eating", (("eating", "eats"), ("grazing", "grazes"))),
    "swim": (r"swim", (("swimming", "swims"),)),
    "fall": (r"death|out_of_water", (("falling over", "falls over"), ("dying", "dies"))),
    "sit": (r"sit_", (("sitting", "sits"),)),
    "lie": (r"lie_", (("lying down", "lies down"),)),
    "cheer": (r"cheer", (("cheering", "cheers"), ("celebrating", "celebrates"))),
    "roll": (r"roll", (("rolling", "rolls"),)),
    "drive": (
        r"tank_(forward|backward)",
        (("driving", "drives"), ("rolling along", "rolls along")),
    ),
    "turn": (r"turning", (("turning", "turns"),)),
    "dodge": (r"dodge|hit", (("dodging", "dodges"), ("flinching", "flinches"))),
    "use": (r"interact|pickup|use_item|reload|aiming", (("working", "works"),)),
    "idle": (r"idle", (("standing", "stands"), ("waiting", "waits"), ("resting", "rests"))),
}
TRAVELS = {"gallop": 0.9, "run": 0.8, "walk": 0.5, "swim": 0.5, "drive": 0.7}  # units a clip
ONCE = {"jump", "fall", "sit", "lie", "kick", "attack", "roll"}  # told from the clip's start


def action_of(clip: Clip) -> str | None:
    """The action that a clip shows, by its name; None for one that shows none of them."""
    name = clip.name.split("|")[-1].lower()
    if name.startswith("run"):
        return "run"
    if re.search(r"jump", name):
        return "jump"
    for action, (pattern, _) in ACTIONS.items():
        if re.search(pattern, name):
            return action
    return None


def asset_path(assets: Path, subject: Subject) -> Path:
    """Where a subject's file is expected in a folder of assets."""
    return assets / f"{subject.file}.glb"
