"""What follows a true first frame, scored: a network that copies is right of still clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gen.data.assets.cache import HELD_OUT, scene_path, write_scene
from gen.data.assets.scenes import sample_scene
from gen.network.base import CLIP, BaseModel, save_base
from gen.network.params import SIZES
from gen.train import perceptual
from scripts.tools.clip_scores import Options, main
from tests.gen.data.test_asset_world import REPERTOIRE
from tests.gen.train.test_picture import little_lpips


def test_copies_of_still_clips_score_best(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(perceptual, "load_lpips", little_lpips)
    scene = sample_scene(REPERTOIRE, "prompt", np.random.default_rng(0))
    cell = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    cells = np.broadcast_to(cell, (8, 8, 16, 24, 3))
    write_scene(scene_path(tmp_path / "world", "prompt", HELD_OUT), scene, cells)
    base = BaseModel(SIZES["debug"], ["a"])
    copying = BaseModel(replace(SIZES["debug"], copies=True), ["a"])
    with torch.no_grad():
        copying.dit.copy.out.bias[2::3] = 20.0
    save_base(base, tmp_path / "w", {})
    save_base(copying, tmp_path / "w", {}, CLIP)
    options = Options(tmp_path / "world", tmp_path / "w", sheet=tmp_path / "sheet.png")
    main(options)
    out, err = capsys.readouterr()
    assert (out + err).count("LPIPS 0.000") == 2
    assert options.sheet is not None and options.sheet.stat().st_size > 0
    main(replace(options, base=True))
    out, err = capsys.readouterr()
    assert "fixed-view: LPIPS" in out + err and "LPIPS 0.000" not in out + err
