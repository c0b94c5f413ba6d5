"""The weights in the package: they load, know their words, and show what a prompt asks for."""

from __future__ import annotations

import numpy as np
import pytest

from fourreal.errors import UserError
from gen.bundled import GridGenerator, check_prompt, load_bundled, weights_folder
from gen.data.world.attributes import read_objects
from gen.generate import GenerateConfig
from gen.limits import GB, Work, clip_bytes, resident_bytes
from gen.network.runtime import Runtime


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


def test_bounded_memory_gives_the_same_grid(bundled, capsys):
    """Half of what a window takes when all its clips go through at once is enough."""
    config = GenerateConfig(views=4, times=4, grid_steps=1)
    work = Work(bundled.base.params, 4, 4, *bundled.size)
    parameters = sum(p.numel() for p in bundled.two_stream(config).parameters())
    parameters += sum(p.numel() for p in bundled.base.text.parameters())
    for network in {bundled.pictures, bundled.clips} - {bundled.base}:
        parameters += sum(p.numel() for p in network.parameters())
    bound = (resident_bytes(work, parameters) + 1.5 * clip_bytes(work)) / GB
    tight = load_bundled(runtime=Runtime("cpu", max_memory_gb=bound))
    rng = np.random.default_rng(0)
    row, column = rng.random((2, 4, *bundled.size, 3), np.float32)
    column[0] = row[0]
    grids = [g.complete_grid(row, column, "", config).grid.frames for g in (bundled, tight)]
    np.testing.assert_allclose(grids[1], grids[0], atol=1e-5)
    assert not capsys.readouterr().err


def test_layers_of_the_bundled_mixer_can_be_dropped(bundled):
    depth = bundled.base.params.depth
    for drop, left in (("first", range(depth // 3, depth)), ("last", range(depth - depth // 3))):
        model = bundled.two_stream(GenerateConfig(drop_sync=drop))
        assert model.mixer.active == set(left)


def test_words_it_was_not_trained_on_are_said(capsys):
    check_prompt("a red ball and a cyan capsule spinning", weights_folder())
    assert "cyan, capsule, spinning" in capsys.readouterr().err
    with pytest.raises(UserError, match="knows"):
        check_prompt("cyan capsules twirling", weights_folder())
