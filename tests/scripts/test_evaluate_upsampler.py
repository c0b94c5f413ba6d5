"""The upsampler's evaluation at debug size: rows, resuming, what is called the default."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.data.world.captions import VOCABULARY
from gen.network.base import BaseModel, save_base
from gen.network.params import SIZES
from gen.sync.mixer_file import save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from gen.upsample import UPSAMPLER_SIZES, UpsamplerModel, save_upsampler
from scripts.evaluate.upsampler import EvaluateUpsamplerConfig, gradient, main, near_edges
from tests.gen.data.test_asset_world import fill_cache


def test_rows_are_made_and_kept(tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "weights"
    base = BaseModel(SIZES["debug"], VOCABULARY)
    save_base(base, weights, {"pool": {"world": "narrow"}})
    save_mixer(TwoStream(base.dit, SyncParams("soft", 4)), weights, "soft", {})
    model = UpsamplerModel(UPSAMPLER_SIZES["debug"], ["red"])
    save_upsampler(model, weights, {}, steps=1, default=True)
    config = EvaluateUpsamplerConfig(
        n=1, weights=weights, size="32x48", views=2, times=2, steps=(1,),
        json=tmp_path / "out.json", sheet=tmp_path / "sheet.png",
    )  # fmt: skip
    main(config)
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert set(rows) == {"true_low_32x48", "generated_32x48"}
    for scene in rows.values():
        assert set(scene) == {"bicubic", "lanczos", "upsampler_1", "default"}
        # An untrained upsampler is the bicubic enlargement (of torch, not of OpenCV).
        assert scene["upsampler_1"]["psnr"] == pytest.approx(scene["bicubic"]["psnr"], abs=0.5)
        assert scene["default"]["psnr"] == scene["upsampler_1"]["psnr"]
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    capsys.readouterr()
    config.sheet = None
    main(config)
    assert "upsampler_1" not in capsys.readouterr().out


def test_the_asset_world_is_another_test_set(tmp_path):
    torch.manual_seed(0)
    fill_cache(tmp_path / "world", [900_000, 900_001], size=(32, 48), edge=True)
    weights = tmp_path / "weights"
    base = BaseModel(SIZES["debug"], VOCABULARY)
    save_base(base, weights, {"pool": {"world": "narrow"}})
    save_mixer(TwoStream(base.dit, SyncParams("soft", 4)), weights, "soft", {})
    save_upsampler(UpsamplerModel(UPSAMPLER_SIZES["debug"], ["red"]), weights, {}, steps=1)
    main(
        EvaluateUpsamplerConfig(
            n=2, weights=weights, assets=tmp_path / "world", size="32x48", views=2, times=3,
            steps=(1,), json=tmp_path / "out.json",
        )
    )  # fmt: skip
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert set(rows) == {"true_low_32x48_assets", "generated_32x48_assets"}
    assert rows["true_low_32x48_assets"]["bicubic"]["psnr"] > 25  # an edge is all there is


def test_edges_are_where_brightness_jumps():
    frames = np.zeros((1, 20, 30, 3))
    frames[:, :, 15:] = 1
    assert gradient(frames)[0, 5].nonzero()[0].tolist() == [14]
    assert near_edges(frames)[0, 5].nonzero()[0].tolist() == list(range(11, 18))


def test_a_test_set_of_nothing_is_refused():
    with pytest.raises(UserError, match="at least one"):
        EvaluateUpsamplerConfig(n=0)
