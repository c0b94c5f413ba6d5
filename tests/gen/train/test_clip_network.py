"""The network for what follows a first frame: it copies from there, learns where from by optical
flow, is kept beside the base, and goes on from given frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.video_io import to_uint8
from gen.bundled import GridGenerator, load_bundled
from gen.completion.flow import straight_to_first
from gen.data.assets.cache import HELD_OUT
from gen.generate import GenerateConfig
from gen.network.base import BASE, CLIP, COPY, BaseModel, load_base, save_base, shards
from gen.network.copying import CopyHead, displaced, mix_copied, surer_mean
from gen.network.dit import DiT
from gen.network.params import SIZES
from gen.network.patches import unpatchify
from gen.sync.mixer_file import save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from gen.train.flow_teacher import flow_loss
from gen.train.options import ClipMix, TrainBaseConfig
from scripts.train_base import main as train_base
from tests.gen.data.test_asset_world import fill_cache
from tests.gen.train.test_train import base_options, run_4d

WORDS = ["a", "red", "ball"]
COPYING = replace(SIZES["debug"], copies=True)


def texture(h: int = 40, w: int = 64) -> torch.Tensor:
    """A smooth random picture [H, W, 3] in [-1, 1]."""
    g = torch.Generator().manual_seed(3)
    small = torch.rand(1, 3, h // 4, w // 4, generator=g) * 2 - 1
    large = torch.nn.functional.interpolate(small, size=(h, w), mode="bicubic")
    return large[0].permute(1, 2, 0).clamp(-1, 1)


def test_whole_pixels_are_displaced_exactly_and_beyond_the_border_is_the_border():
    first = texture()[None]
    by = torch.zeros(1, 2, 40, 64, 2)
    by[:, 1] = torch.tensor([3.0, -2.0])
    seen = displaced(first, by)
    torch.testing.assert_close(seen[0, 0], first[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[0, 1, 4:, :-6], first[0, 2:-2, 3:-3], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[0, 1, 5, -1], first[0, 3, -1], atol=1e-4, rtol=0)


def test_the_head_says_it_of_the_pixels_of_each_token():
    head = CopyHead(6, 8)
    head.reset_parameters()
    with torch.no_grad():
        head.out.weight.view(16, 3, 6)[:, 0, 0] = 1.0  # the first number of a token: to the right
    tokens = torch.zeros(1, 2 * 6, 6)
    tokens[0, 6 + 4, 0] = 0.5  # second frame, second row of patches, second column
    maps = head(tokens, 2, 16, 24)
    assert maps.shape == (1, 2, 16, 24, 3)
    marked = unpatchify(tokens[..., :1].expand(-1, -1, 64), 8, 2, 16, 24)[..., 0] > 0
    inner = maps[0, 1, 9:15, 9:15]  # the border is shared with the neighbours
    assert marked[0, 1, 8:16, 8:16].all() and int(marked.sum()) == 64
    torch.testing.assert_close(inner[..., 0], torch.full((6, 6), 4.0))
    assert maps[0, 0].abs()[..., :2].max() == 0 and maps[0, 1, :7, :, 0].abs().max() == 0
    assert maps[..., 1].abs().max() == 0 and maps[..., 2].std() < 1e-6


def test_nothing_is_copied_where_the_first_frame_is_not_given():
    drawn, first = torch.zeros(2, 3, 40, 64, 3), texture().expand(2, -1, -1, -1)
    maps = torch.zeros(2, 3, 40, 64, 3)
    maps[..., 2] = 1.0
    mixed = mix_copied(drawn, first, maps, torch.tensor([True, False]))
    torch.testing.assert_close(mixed[0, 2], first[0], atol=1e-4, rtol=0)
    assert mixed[1].abs().max() == 0


def test_flow_finds_where_in_the_first_frame_pixels_were():
    first = texture()
    clip = torch.stack([first, first.roll(3, 1), first.roll(6, 1)])
    flow = straight_to_first(to_uint8((clip.numpy() + 1) / 2))
    inner = flow[:, 8:-8, 12:-12]
    expected = torch.tensor([[0.0, 0.0], [-3.0, 0.0], [-6.0, 0.0]])
    assert (inner.mean((1, 2)) - expected).abs().max() < 0.3
    known = torch.tensor([[True, False, False]])
    right = flow_loss(flow[None], clip[None], known)
    none = torch.zeros_like(flow[None], requires_grad=True)
    wrong = flow_loss(none, clip[None], known)
    assert float(right) < 1e-6 < 0.1 < float(wrong.detach())
    wrong.backward()
    assert none.grad[0, 0].abs().max() == 0 and none.grad[0, 1, 20, 30, 0] > 0
    nothing = flow_loss(none, clip[None], torch.zeros(1, 3, dtype=torch.bool))
    assert float(nothing.detach()) == 0


def test_it_is_trained_from_the_base_and_saved_beside_it(tmp_path):
    fill_cache(tmp_path / "cache", [1, HELD_OUT])
    save_base(BaseModel(SIZES["debug"], WORDS), tmp_path / "start", {"pool": {"world": "narrow"}})
    options = base_options(
        tmp_path / "run", 3, frames=8, use_frames=None, picture_every=0, network=CLIP,
        start=tmp_path / "start", world=tmp_path / "cache", mix=ClipMix(0.0, assets=1.0),
    )  # fmt: skip
    train_base(options)
    made, config = load_base(tmp_path / "run" / "weights", CLIP)
    assert config["params"]["copies"] and config["how_made"]["flow"] == options.flow
    assert not (tmp_path / "run" / "weights" / "config.json").exists()
    head = {k: v for k, v in made.state_dict().items() if k.startswith(COPY)}
    assert head["dit.copy.out.weight"].abs().max() > 0
    with pytest.raises(ValueError, match="goes on from a first frame"):
        TrainBaseConfig(out=tmp_path, network=CLIP, frames=1)


def test_what_follows_given_frames_is_its_work(tmp_path):
    torch.manual_seed(0)
    base, copying = BaseModel(SIZES["debug"], WORDS), BaseModel(COPYING, WORDS)
    for network in (base, copying):
        torch.nn.init.normal_(network.dit.head_out.weight, std=0.02)
    with torch.no_grad():  # copies everything from where it is
        copying.dit.copy.out.bias[2::3] = 20.0
    save_base(base, tmp_path, {}, BASE)
    save_base(copying, tmp_path, {}, CLIP)
    config = GenerateConfig(views=3, times=3, steps=2, mixer="none", still=False)
    made = load_bundled(tmp_path).from_prompt("a red ball", config)
    for clip in (made.fixed_view, made.freeze_time):
        np.testing.assert_allclose(clip[1:], np.stack([clip[0]] * 2), atol=1e-3)
    alone = GridGenerator(load_base(tmp_path)[0]).from_prompt("a red ball", config)
    np.testing.assert_allclose(made.fixed_view[0], alone.fixed_view[0], atol=1e-6)
    assert np.abs(made.fixed_view[1] - alone.fixed_view[1]).max() > 0.1


def test_the_grid_copies_from_the_first_of_each_row_and_column():
    torch.manual_seed(0)
    dit = DiT(COPYING)
    with torch.no_grad():  # copies everything from where it is, draws black
        dit.copy.out.bias[2::3] = 20.0
    cells = torch.rand(1, 3, 4, 16, 24, 3)
    known = torch.zeros(1, 3, 4, dtype=torch.bool)
    known[:, 0] = known[:, :, 0] = True
    text, mask = torch.zeros(1, 5, COPYING.text_width), torch.ones(1, 5, dtype=torch.bool)
    sides = {"row": cells[:, :, :1].expand_as(cells), "column": cells[:, :1].expand_as(cells)}
    sides["mean"] = (sides["row"] + sides["column"]) / 2
    for output, expected in sides.items():
        made = TwoStream(dit, SyncParams("none"), output)(cells, known, torch.ones(1), text, mask)
        torch.testing.assert_close(made[~known], expected[~known], atol=1e-4, rtol=0)
    known[:, 1:, 0] = False  # nothing to copy for those rows
    made = TwoStream(dit, SyncParams("none"), "row")(cells, known, torch.ones(1), text, mask)
    assert made[0, 1:].abs().max() < 1e-4


def test_mixers_are_trained_on_it_where_there_is_one(tmp_path):
    start = tmp_path / "start" / "weights"
    save_base(BaseModel(SIZES["debug"], WORDS), start, {"of": "base"}, BASE)
    save_base(BaseModel(COPYING, WORDS), start, {"of": "clip"}, CLIP)
    trained = run_4d(tmp_path / "start", tmp_path / "run", 1)
    assert any(k.startswith(f"base.{COPY}") for k in trained)
    made = tmp_path / "run" / "weights"
    for name in (BASE, CLIP):  # both, as they were
        assert load_base(made, name)[1]["how_made"] == {"of": name}
        assert shards(made, name)[0].read_bytes() == shards(start, name)[0].read_bytes()
    load_bundled(made).two_stream(GenerateConfig())  # their mixer goes with the network that copies


def test_of_two_frames_of_a_cell_the_surer_one_decides():
    one, other = torch.ones(4, 3), torch.zeros(4, 3)
    share = torch.tensor([[1.0], [0.5], [0.0], [0.0]])
    mixed = surer_mean(one, other, share, torch.tensor([[0.0], [0.5], [1.0], [0.0]]))
    assert mixed[0].min() > 0.99 and mixed[2].max() < 0.01
    torch.testing.assert_close(mixed[[1, 3]], torch.full((2, 3), 0.5))


def test_grids_are_made_by_the_network_that_their_mixer_was_trained_on(tmp_path):
    torch.manual_seed(0)
    base, copying = BaseModel(SIZES["debug"], WORDS), BaseModel(COPYING, WORDS)
    with torch.no_grad():  # copies everything from where it is
        copying.dit.copy.out.bias[2::3] = 20.0
    save_base(base, tmp_path, {}, BASE)
    save_mixer(TwoStream(base.dit, SyncParams("soft", 4)), tmp_path, "soft", {})
    frames = np.random.default_rng(0).random((2, 3, *base.params.frame_size, 3), np.float32)
    frames[1, 0] = frames[0, 0]
    config = GenerateConfig(views=3, times=3, steps=2, blend=False)

    def cell(**changes) -> np.ndarray:
        settings = replace(config, **changes)
        made = load_bundled(tmp_path).complete_grid(frames[0], frames[1], "a ball", settings)
        return made.grid.frames[1, 1]

    drawn = cell()
    save_base(copying, tmp_path, {}, CLIP)
    np.testing.assert_array_equal(cell(), drawn)
    save_mixer(TwoStream(copying.dit, SyncParams("soft", 4)), tmp_path, "soft", {})
    copied = (frames[0][1] + frames[1][1]) / 2
    np.testing.assert_allclose(cell(), copied, atol=2e-3)
    np.testing.assert_allclose(cell(mixer="none"), copied, atol=2e-3)
    np.testing.assert_allclose(cell(mixer="hard", untrained_sync=True), copied, atol=2e-3)
    assert np.abs(drawn - copied).max() > 0.1
    (tmp_path / "clip.json").unlink()
    with pytest.raises(UserError, match="network that copies from first frames"):
        cell()
