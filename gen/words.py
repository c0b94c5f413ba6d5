"""What a prompt says in the words that a model knows: known words stay, others are taken for the
nearest known one, or named and left out.

Nearness is a stated number: 1 the word itself, INFLECTED another form of it ("horses"), SAME a
synonym, ALIKE something that looks or moves much like it ("fox" for a dog).  What stands in no
group is compared by a sentence encoder where the extra [words] is installed (`gen.sentence`; below
LEAST_ENCODED nothing is substituted) and stays unknown where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fourreal.console import say, warn
from fourreal.errors import UserError
from gen import sentence
from gen.data.assets.captions import GROUND_PHRASES, LIGHT_PHRASES
from gen.data.assets.menagerie import ACTIONS, COAT_WORDS, SUBJECTS
from gen.data.world.captions import COLOUR_WORDS, FLOOR_PHRASES, MOTION_PHRASES, SHAPE_WORDS
from gen.network.text import MAX_WORDS, split_words

INFLECTED, SAME, ALIKE = 0.95, 0.85, 0.6
# Of the encoder's cosine. Measured: cat / dog 0.66, hopping / jumping 0.62, lizard / frog 0.60;
# nonsense and words of grammar stay below 0.45, purring / dog reaches 0.52.
LEAST_ENCODED = 0.58

# Words that mean the same, and words that come near them; the first known one is taken.
_GROUPS: tuple[tuple[str, str], ...] = (
    ("horse pony mare stallion foal colt steed", "donkey mule zebra unicorn"),
    ("cow cattle bull ox calf heifer", "buffalo bison yak goat sheep"),
    ("alpaca llama", "camel giraffe"),
    ("dog husky puppy hound doggy", "wolf fox coyote"),
    ("frog toad", "salamander"),
    ("spider tarantula", "crab insect bug"),
    ("clownfish fish", "goldfish carp koi trout shark"),
    ("pufferfish puffer blowfish", ""),
    ("tank vehicle", "car truck tractor bulldozer"),
    ("knight soldier", "guard swordsman"),
    ("barbarian warrior viking", "fighter berserker"),
    ("rogue thief", "ninja assassin archer"),
    ("toy", "robot android"),
    ("ball sphere orb globe", "marble balloon"),
    ("cube box block", "crate brick"),
    ("cylinder can drum", "barrel tin"),
    ("cone", "pyramid"),
    ("ring torus donut doughnut", "hoop wheel"),
    ("red crimson scarlet", "maroon ruby"),
    ("orange tangerine", "amber"),
    ("yellow golden", "lemon gold"),
    ("green emerald", "lime olive"),
    ("blue navy azure", "indigo"),
    ("purple violet", "lilac magenta"),
    ("brown chestnut", "beige bay"),
    ("grey gray silver", ""),
    ("white", "ivory pale"),
    ("black dark", ""),
    ("bouncing bounces", "jumping jumps hopping hops leaping leaps"),
    ("sliding slides gliding glides", "skating drifting"),
    ("growing grows expanding expands", "swelling inflating"),
    ("shrinking shrinks contracting contracts", "deflating"),
    ("galloping gallops", "racing"),
    ("running runs jogging jogs", "sprinting rushing"),
    ("walking walks strolling strolls", "trotting marching wandering"),
    ("jumping jumps leaping leaps", "hopping hops"),
    ("eating eats grazing grazes", "feeding chewing"),
    ("attacking attacks fighting fights", "striking hitting"),
    ("swimming swims", "floating diving"),
    ("driving drives", "rolling"),
    ("standing stands resting rests waiting waits", "idle sitting"),
    ("grass lawn meadow", "field pasture"),
    ("wooden wood boards", "parquet planks timber"),
    ("checkered checkerboard chessboard", "chequered tiled"),
    ("sand beach desert", "dunes"),
    ("snow", "ice"),
    ("floor", "ground table"),
    ("beside next", "near by"),
    ("sea ocean water", "lake aquarium"),
)  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """A word of a prompt and the known word that it is taken for."""

    word: str
    known: str
    similarity: float


@dataclass(frozen=True)
class Reading:
    """A prompt in known words, what was taken for what, and what stays unknown."""

    text: str
    taken: tuple[Taken, ...]
    unknown: tuple[str, ...]


def _stem(word: str) -> str:
    """A word without its ending, the last letter of a doubled pair dropped."""
    for ending in ("ing", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return re.sub(r"([b-df-hj-np-tv-z])\1$", r"\1", word)


def nearest(word: str, known: Sequence[str]) -> Taken | None:
    """The known word nearest to `word`; None where none is near enough."""
    if word in known:
        return Taken(word, word, 1.0)
    stem = _stem(word)
    forms = [k for k in known if _stem(k) == stem and len(stem) >= 3]
    if forms:
        return Taken(word, forms[0], INFLECTED)
    best: Taken | None = None
    for same, alike in _GROUPS:
        inside = same.split()
        for near, similarity in ((inside, SAME), (alike.split(), ALIKE)):
            if word in near or stem in map(_stem, near):
                hit = next((w for w in inside if w in known), None)
                if hit is not None and (best is None or similarity > best.similarity):
                    best = Taken(word, hit, similarity)
    if best is None and sentence.available():
        spoken = content_words(known)
        if spoken:
            hit, similarity = sentence.nearest(word, spoken)
            best = Taken(word, hit, similarity) if similarity >= LEAST_ENCODED else None
    return best


def read(prompt: str, known: Sequence[str]) -> Reading:
    """The prompt in words of `known`."""
    words = set(known)
    text: list[str] = []
    taken: dict[str, Taken] = {}
    unknown: list[str] = []
    for word in split_words(prompt):
        if word in words:
            text.append(word)
            continue
        near = nearest(word, known)
        if near is None:
            unknown.append(word)
        else:
            text.append(near.known)
            taken[word] = near
    return Reading(" ".join(text), tuple(taken.values()), tuple(dict.fromkeys(unknown)))


def content_words(known: Sequence[str]) -> list[str]:
    """The words of `known` that stand in a group: those that may be said for others."""
    grouped = {w for same, _ in _GROUPS for w in same.split()}
    return sorted(grouped & set(known))


def subject_words(known: Sequence[str]) -> list[str]:
    """The words of `known` that name something to show, one or more for every subject, sorted."""
    nouns = {w for group in SHAPE_WORDS.values() for w in group}
    nouns |= {n for s in SUBJECTS for n in s.nouns if " " not in n}
    return sorted(nouns & set(known))


def askable(known: Iterable[str]) -> dict[str, list[str]]:
    """What can be asked for with the words of `known`: canonical words or phrases by kind."""
    words = set(known)

    def spoken(phrases: Iterable[str]) -> list[str]:
        found = [p for p in phrases if set(split_words(p)) <= words]
        return list(dict.fromkeys(found))

    motions = [pair[0] for group in MOTION_PHRASES.values() for pair in group[:1]]
    actions = [group[0][0] for _, group in ACTIONS.values()]
    places = [p[0] for table in (FLOOR_PHRASES, GROUND_PHRASES) for p in table.values()]
    return {
        "subjects": spoken([*(g[0] for g in SHAPE_WORDS.values()), *(s.name for s in SUBJECTS)]),
        "colours": spoken([*COLOUR_WORDS, *COAT_WORDS]),
        "actions": spoken([*motions, *actions]),
        "places": spoken(places),
        "light": spoken(p[0] for p in LIGHT_PHRASES.values()),
    }


def subject_prompts(known: Iterable[str]) -> list[str]:
    """A plain prompt for every subject that the words of `known` name."""
    groups = askable(known)
    shapes = {group[0] for group in SHAPE_WORDS.values()}
    colours = [c for c in groups["colours"] if c in COLOUR_WORDS] or [""]
    out = []
    for i, subject in enumerate(groups["subjects"]):
        noun = f"{colours[i % len(colours)]} {subject}".strip() if subject in shapes else subject
        out.append(("an " if noun[0] in "aeiou" else "a ") + noun)
    return out


def check_words(prompt: str, known: Sequence[str]) -> None:
    """Say what is taken for what and which words are ignored.

    Raises UserError when no word of the prompt is known, or near enough to one that is.
    """
    found = read(prompt, known)
    subjects = subject_words(known)
    if not found.text:
        raise UserError(
            f"the prompt {prompt!r} has no word the bundled model knows; "
            f"it knows: {', '.join(subjects or known)}"
        )
    for t in found.taken:
        say(f"  '{t.word}' is taken for '{t.known}' (similarity {t.similarity:.2f})")
    if found.unknown:
        warn(f"words the model does not know are ignored: {', '.join(found.unknown)}")
    if subjects and not set(found.text.split()) & set(subjects):
        warn(f"the prompt names nothing the model can show; it can show: {', '.join(subjects)}")
    if len(found.text.split()) > MAX_WORDS:
        warn(f"the prompt is longer than {MAX_WORDS} known words; the rest is ignored")
