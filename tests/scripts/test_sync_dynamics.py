"""The figure of the layers' dynamics: what is recorded, and that the script writes both files."""

from __future__ import annotations

import json

import cv2
import pytest
import torch

from fourreal.errors import UserError
from gen.network.base import save_base
from gen.sync.mixer_file import save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from scripts.evaluate.sync_dynamics import Recorder, SyncDynamicsConfig, main, measure
from tests.gen.sync.test_sync import grid, two_stream
from tests.gen.test_generate import tiny_base


def test_recorded_are_the_training_free_mixers_known_values():
    """Hard: both streams go to the mean, so they agree afterwards, and each moves by half of the
    distance.  A soft mixer without weight moves nothing."""
    model = two_stream("hard")
    recorder = Recorder()
    model.mixer.register_forward_hook(recorder)
    seen = []
    model.mixer.register_forward_hook(lambda mixer, inputs, outputs: seen.append(inputs[:3]))
    with torch.no_grad():
        model(*grid())
    means = recorder.means(1, 2)
    torch.testing.assert_close(torch.tensor(means[0, :, 3]), torch.ones(2).double())
    layer, row, column = seen[0]
    half = ((column - row) / 2).norm(dim=-1)
    assert means[0, layer, 0] == pytest.approx(float((half / row.norm(dim=-1)).mean()), rel=1e-5)
    assert means[0, layer, 1] == pytest.approx(float((half / column.norm(dim=-1)).mean()), rel=1e-5)
    assert means[0, 0, 2] < 0.999


@pytest.fixture
def weights(tmp_path):
    base = tiny_base()
    save_base(base, tmp_path / "weights", {})
    save_mixer(TwoStream(base.dit, SyncParams("soft", 4)), tmp_path / "weights", "soft", {})
    return tmp_path / "weights"


def config(weights, **changes) -> SyncDynamicsConfig:
    return SyncDynamicsConfig(n=1, weights=weights, views=3, times=3, grid_steps=2, **changes)


def test_every_layer_and_noise_level_is_recorded(weights):
    means, levels, _ = measure(config(weights))
    assert means.shape == (2, 2, 4) and levels == sorted(levels, reverse=True)
    assert (means[..., :2] > 0).all() and (abs(means[..., 2:]) <= 1 + 1e-6).all()
    # Training-free weights 0.1 + 0.4 l/L: soft moves the streams towards each other.
    assert (means[..., 3] > means[..., 2]).all()


def test_json_without_a_picture(weights, tmp_path):
    main(config(weights, picture=None, json=tmp_path / "dynamics.json"))
    record = json.loads((tmp_path / "dynamics.json").read_text())
    ((scene, layers),) = record["results"].items()
    assert scene.endswith("soft") and list(layers) == ["layer 1", "layer 2"]
    assert len(record["by_noise_level"][scene]["layer 1"]["update_row"]) == 2


def test_picture(weights, tmp_path):
    pytest.importorskip("matplotlib")
    main(config(weights, picture=tmp_path / "out" / "dynamics.png"))
    assert cv2.imread(str(tmp_path / "out" / "dynamics.png")).std() > 10


def test_users_are_told(weights, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="two streams"):
        SyncDynamicsConfig(mixer="sequential")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UserError, match="needs matplotlib"):
        main(config(weights, picture=tmp_path / "dynamics.png"))
