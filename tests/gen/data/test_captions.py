"""The caption grammar and its parser."""

import torch

from gen.data.world.captions import VOCABULARY, canonical_caption, caption, parse_prompt
from gen.data.world.scene import COLOURS, FLOORS, MOTIONS, SHAPES, ObjectAttributes, attributes_of
from gen.data.world.scene_sampling import sample_scenes

README_PROMPT = "a red ball bouncing beside a blue cube on a checkered floor"


def scenes_of(n, seed=0, **constraints):
    return sample_scenes(n, torch.Generator().manual_seed(seed), **constraints)


def test_vocabulary_is_sorted_small_and_plain():
    assert list(VOCABULARY) == sorted(set(VOCABULARY)) and 80 < len(VOCABULARY) < 250
    assert all(w.isalpha() and w.islower() for w in VOCABULARY)
    assert set(README_PROMPT.split()) <= set(VOCABULARY)


def test_captions_use_the_vocabulary_and_parse_back():
    scenes = scenes_of(300)
    g = torch.Generator().manual_seed(1)
    for i in range(len(scenes)):
        truth = attributes_of(scenes, i)
        for freeze in (False, True):
            text = caption(scenes, g, i, freeze=freeze)
            assert set(text.split()) <= set(VOCABULARY), text
            read = parse_prompt(text)
            assert read.relation == truth.relation, text
            assert read.floor in (None, truth.floor), text
            assert read.sky in (None, truth.sky), text
            assert read.camera_move in (None, truth.camera_move), text
            assert freeze or read.camera_move is None, text
            said = [ObjectAttributes(o.shape, o.colour, o.motion or "still") for o in read.objects]
            assert tuple(said) == truth.objects, text


def test_captions_vary_and_follow_the_generator():
    scenes = scenes_of(1, seed=4)
    texts = [caption(scenes, torch.Generator().manual_seed(s)) for s in range(40)]
    again = [caption(scenes, torch.Generator().manual_seed(s)) for s in range(40)]
    assert texts == again and len(set(texts)) > 12


def test_canonical_caption_names_everything_but_the_sky():
    scenes = scenes_of(200, seed=5)
    texts = {canonical_caption(scenes, i) for i in range(200)}
    for i in range(200):
        read, truth = parse_prompt(canonical_caption(scenes, i)), attributes_of(scenes, i)
        assert read.floor == truth.floor
        assert [(o.shape, o.colour) for o in read.objects] == [
            (o.shape, o.colour) for o in truth.objects
        ]
    assert len(texts) > 190


def test_readme_prompt():
    read = parse_prompt(README_PROMPT)
    ball, cube = read.objects
    assert ball == ObjectAttributes("sphere", "red", "bounce")
    assert (cube.shape, cube.colour) == ("cube", "blue")
    assert (read.relation, read.floor) == ("beside", "checkered")
    scenes = scenes_of(
        1, objects=(ball, ObjectAttributes("cube", "blue", "still")), floor="checkered"
    )
    assert canonical_caption(scenes) == README_PROMPT


def test_order_and_articles():
    right = parse_prompt("An orange box rolling to the right to the right of a pink cone.")
    assert [o.colour for o in right.objects] == ["pink", "orange"]
    assert right.objects[1].motion == "roll_right" and right.objects[0].motion is None
    assert parse_prompt("a thing").objects == ()
    g = torch.Generator().manual_seed(0)
    text = caption(scenes_of(1, colours="orange", count=1), g)
    assert text.startswith(("an orange", "a tangerine"))


def test_every_attribute_can_be_said():
    scenes = scenes_of(400, seed=6)
    seen = [parse_prompt(canonical_caption(scenes, i)) for i in range(400)]
    objects = [o for a in seen for o in a.objects]
    assert {o.shape for o in objects} == set(SHAPES)
    assert {o.colour for o in objects} == set(COLOURS)
    assert {o.motion or "still" for o in objects} == set(MOTIONS)
    assert {a.floor for a in seen} == set(FLOORS)
