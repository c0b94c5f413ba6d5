"""Captions of procedural scenes: a small grammar with synonyms, and the way back.

`caption` paraphrases freely, `canonical_caption` says everything in one fixed way, and
`parse_prompt` reads the attributes out of a text (for evaluation; generation uses the text itself).
With two objects the first one named stands on the left, unless the text says "to the right of".
"""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Generator

from gen.data.wording import Wording, longest_phrase
from gen.data.world.scene import Attributes, ObjectAttributes, SceneBatch, attributes_of

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise", "teal"),
    "blue": ("blue", "navy"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
}
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "sphere": ("ball", "sphere"),
    "cube": ("cube", "box", "block"),
    "cylinder": ("cylinder", "can", "drum"),
    "cone": ("cone",),
    "capsule": ("capsule", "pill"),
    "torus": ("ring", "torus", "donut"),
}
# Participle and third person; the first is canonical.
MOTION_PHRASES: dict[str, tuple[tuple[str, str], ...]] = {
    "still": (
        ("standing still", "stands still"),
        ("resting", "rests"),
        ("standing", "stands"),
    ),
    "bounce": (("bouncing", "bounces"), ("bouncing up and down", "bounces up and down")),
    "jump": (("jumping", "jumps"), ("hopping", "hops"), ("leaping", "leaps")),
    "slide_left": (
        ("sliding to the left", "slides to the left"),
        ("gliding to the left", "glides to the left"),
        ("moving left", "moves left"),
        ("sliding left", "slides left"),
    ),
    "slide_right": (
        ("sliding to the right", "slides to the right"),
        ("gliding to the right", "glides to the right"),
        ("moving right", "moves right"),
        ("sliding right", "slides right"),
    ),
    "roll_left": (("rolling to the left", "rolls to the left"), ("rolling left", "rolls left")),
    "roll_right": (
        ("rolling to the right", "rolls to the right"),
        ("rolling right", "rolls right"),
    ),
    "spin": (
        ("spinning", "spins"),
        ("rotating", "rotates"),
        ("turning around", "turns around"),
        ("twirling", "twirls"),
    ),
    "orbit": (
        ("moving in a circle", "moves in a circle"),
        ("circling", "circles"),
        ("going round in a circle", "goes round in a circle"),
    ),
    "swing": (("swinging", "swings"), ("swaying", "sways"), ("rocking", "rocks")),
    "grow": (("growing", "grows"), ("getting bigger", "gets bigger"), ("expanding", "expands")),
    "shrink": (
        ("shrinking", "shrinks"),
        ("getting smaller", "gets smaller"),
        ("contracting", "contracts"),
    ),
}
AROUND_PHRASES = (
    ("orbiting around", "orbits around"),
    ("circling around", "circles around"),
    ("orbiting", "orbits"),
    ("moving around", "moves around"),
)
LEFT_OF_PHRASES = ("beside", "next to", "to the left of", "on the left of")
RIGHT_OF_PHRASES = ("to the right of", "on the right of")
FLOOR_PHRASES: dict[str, tuple[str, ...]] = {
    "plain": ("on a plain floor", "on a smooth floor"),
    "checkered": ("on a checkered floor", "on a chessboard floor", "on a checkerboard"),
    "striped": ("on a striped floor", "on a floor with stripes"),
    "wooden": ("on a wooden floor", "on wooden boards", "on a floor of wood"),
    "dotted": ("on a dotted floor", "on a spotted floor", "on a floor with dots"),
    "grassy": ("on grass", "on a lawn", "on a green meadow"),
}
SKY_PHRASES: dict[str, tuple[str, ...]] = {
    "blue": ("under a blue sky", "on a sunny day"),
    "sunset": ("at sunset", "under an evening sky"),
    "grey": ("in a grey studio", "under a grey sky"),
}
CAMERA_PHRASES: dict[str, tuple[str, ...]] = {
    "arc_left": ("the camera circles to the left", "the camera moves left"),
    "arc_right": ("the camera circles to the right", "the camera moves right"),
    "rise": ("the camera rises", "the camera moves up"),
    "dolly_in": ("the camera comes closer", "the camera moves in"),
    "dolly_out": ("the camera pulls back", "the camera moves away"),
}
FROZEN_PHRASES = ("frozen in time", "time stands still")
_FILLER = "a an the and is while"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _vocabulary() -> tuple[str, ...]:
    phrases: list[str] = [_FILLER, *FROZEN_PHRASES, *LEFT_OF_PHRASES, *RIGHT_OF_PHRASES]
    for table in (COLOUR_WORDS, SHAPE_WORDS, FLOOR_PHRASES, SKY_PHRASES, CAMERA_PHRASES):
        phrases += [p for group in table.values() for p in group]
    for pair in (*AROUND_PHRASES, *(p for group in MOTION_PHRASES.values() for p in group)):
        phrases += pair
    return tuple(sorted({w for p in phrases for w in _words(p)}))


VOCABULARY = _vocabulary()


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _noun(o: ObjectAttributes, choose: Wording) -> str:
    assert o.shape is not None and o.colour is not None
    return f"{choose.pick(COLOUR_WORDS[o.colour], 0.7)} {choose.pick(SHAPE_WORDS[o.shape])}"


def _motion(o: ObjectAttributes, choose: Wording, finite: bool, may_drop: bool) -> str:
    """' bouncing' / ' bounces' / ' is bouncing', or '' for stillness that goes without saying."""
    assert o.motion is not None
    if o.motion == "still" and may_drop and (choose.generator is None or choose.chance(0.75)):
        return ""
    participle, third = choose.pick(MOTION_PHRASES[o.motion])
    if not finite:
        return " " + participle
    return " " + (third if choose.chance(0.7) else "is " + participle)


def _objects(a: Attributes, choose: Wording) -> str:
    finite = choose.generator is not None and choose.chance(0.35)
    if len(a.objects) == 1:
        (o,) = a.objects
        return _article(_noun(o, choose)) + _motion(o, choose, finite, may_drop=True)
    left, right = a.objects
    if a.relation == "around":
        verb = choose.pick(AROUND_PHRASES)[1 if finite else 0]
        return f"{_article(_noun(left, choose))} {verb} {_article(_noun(right, choose))}"
    swapped = choose.generator is not None and choose.chance(0.2)
    first, second = (right, left) if swapped else (left, right)
    first_noun, second_noun = _article(_noun(first, choose)), _noun(second, choose)
    both_move = first.motion != "still" and second.motion != "still"
    if not swapped and choose.generator is not None and choose.chance(0.3 if both_move else 0.12):
        joint = "while" if both_move and choose.chance(0.3) else "and"
        one = _motion(first, choose, finite or joint == "while", may_drop=True)
        two = _motion(second, choose, finite or joint == "while", may_drop=True)
        return f"{first_noun}{one} {joint} {_article(second_noun)}{two}"
    relation = choose.pick(RIGHT_OF_PHRASES if swapped else LEFT_OF_PHRASES)
    text = first_noun + _motion(first, choose, finite, may_drop=True) + f" {relation} "
    if second.motion == "still":
        return text + _article(second_noun)
    participle = choose.pick(MOTION_PHRASES[second.motion or "still"])[0]
    if len(participle.split()) == 1:
        return text + _article(f"{participle} {second_noun}")
    return f"{text}{_article(second_noun)} {participle}"


def caption(
    scenes: SceneBatch,
    generator: Generator,
    index: int = 0,
    *,
    freeze: bool = False,
    camera: bool = True,
) -> str:
    """A random English caption of scene `index`, lower case, without punctuation.

    freeze: the clip is a freeze-time column, so time may be said to stand still and (if camera) the
    camera move may be named. Optional parts (floor, sky, stillness) are sometimes left out.
    """
    a = attributes_of(scenes, index)
    choose = Wording(generator)
    text = _objects(a, choose)
    assert a.floor is not None and a.sky is not None and a.camera_move is not None
    if choose.chance(0.8):
        text += " " + choose.pick(FLOOR_PHRASES[a.floor])
    if choose.chance(0.3):
        text += " " + choose.pick(SKY_PHRASES[a.sky])
    if freeze:
        if choose.chance(0.3):
            text += " " + choose.pick(FROZEN_PHRASES)
        if camera and choose.chance(0.6):
            text += " while " + choose.pick(CAMERA_PHRASES[a.camera_move])
    return text


def caption_of(a: Attributes) -> str:
    """The canonical caption of attributes: floor named when known, plain words, fixed order."""
    text = _objects(a, Wording(None))
    return text + (f" {FLOOR_PHRASES[a.floor][0]}" if a.floor is not None else "")


def canonical_caption(scenes: SceneBatch, index: int = 0) -> str:
    """One fixed wording of scene `index`, e.g. "a red ball bouncing beside a blue cube on ..."."""
    return caption_of(attributes_of(scenes, index))


_SHAPE_OF = {w: s for s, group in SHAPE_WORDS.items() for w in group}
_COLOUR_OF = {w: c for c, group in COLOUR_WORDS.items() for w in group}
_ARTICLES = ("a", "an", "the")
_CUT = "|"  # stands for phrases that have been read


def _read(words: list[str], table: dict[str, tuple[str, ...]]) -> tuple[str | None, list[str]]:
    """The key of the longest phrase of the table in words, and words with that phrase cut out."""
    found = {key: longest_phrase(words, map(_words, group)) for key, group in table.items()}
    (length, start), key = max((place[::-1], key) for key, place in found.items())
    if length == 0:
        return None, words
    return key, words[:start] + [_CUT] * length + words[start + length :]


def parse_prompt(text: str) -> Attributes:
    """The attributes that a prompt names; everything it leaves out is None.

    At most two objects, from left to right. An object without a motion word has motion None; next
    to a moving one the grammar means "still".
    """
    words = _words(text)
    camera_move, words = _read(words, CAMERA_PHRASES)
    _, words = _read(words, {"frozen": FROZEN_PHRASES})
    floor, words = _read(words, FLOOR_PHRASES)
    sky, words = _read(words, SKY_PHRASES)
    nouns = [i for i, w in enumerate(words) if w in _SHAPE_OF][:2]
    if not nouns:
        return Attributes((), None, floor, sky, camera_move)
    relation, second = "alone", len(words)
    if len(nouns) == 2:
        # The second object begins with its article, so that "a bouncing ball" is bouncing.
        second = next((i for i in range(nouns[1], nouns[0], -1) if words[i] in _ARTICLES), nouns[1])
        table = {
            "around": tuple(p for pair in AROUND_PHRASES for p in pair),
            "left": LEFT_OF_PHRASES,
            "right": RIGHT_OF_PHRASES,
        }
        found, between = _read(words[nouns[0] + 1 : second], table)
        relation = found or "left"
        words[nouns[0] + 1 : second] = between
    motions = {m: tuple(p for pair in pairs for p in pair) for m, pairs in MOTION_PHRASES.items()}
    objects = []
    for noun, start, end in zip(nouns, (0, second), (second, len(words)), strict=False):
        colour = next((_COLOUR_OF[w] for w in words[start:noun][::-1] if w in _COLOUR_OF), None)
        motion = _read(words[start:end], motions)[0]
        objects.append(ObjectAttributes(_SHAPE_OF[words[noun]], colour, motion))
    if relation == "around":
        objects[0] = replace(objects[0], motion="orbit")
    elif relation == "right":
        objects.reverse()
    relation = {"left": "beside", "right": "beside"}.get(relation, relation)
    return Attributes(tuple(objects), relation, floor, sky, camera_move)
