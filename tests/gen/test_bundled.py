"""The weights in the package: they load, know their words, and show what a prompt asks for."""

from __future__ import annotations

import pytest

from gen.data.attributes import read_objects
from gen.errors import UserError
from gen.generate import GenerateConfig, GridGenerator, check_prompt, load_bundled, weights_folder


@pytest.fixture(scope="module")
def bundled() -> GridGenerator:
    return load_bundled()


def test_shards_are_small_and_complete():
    sizes = [p.stat().st_size for p in weights_folder().glob("*.safetensors")]
    assert sizes and max(sizes) <= 15_000_000 and sum(sizes) <= 45_000_000


def test_readme_prompt_shows_its_objects(bundled):
    config = GenerateConfig(views=2, times=3, steps=8, grid_steps=4)
    made = bundled.from_prompt(
        "a red ball bouncing beside a blue cube on a checkered floor", config
    )
    assert made.grid.frames.shape == (2, 3, 40, 64, 3)
    assert [colour for _, colour, _ in read_objects(made.grid.frames[0, 0], 2)] == ["red", "blue"]


def test_words_it_was_not_trained_on_are_said(capsys):
    check_prompt("a red ball and a cyan capsule spinning", weights_folder())
    assert "cyan, capsule, spinning" in capsys.readouterr().err
    with pytest.raises(UserError, match="knows"):
        check_prompt("cyan capsules twirling", weights_folder())
