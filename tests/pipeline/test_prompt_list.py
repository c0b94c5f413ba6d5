"""`prompt --list` says what the weights know and draws it."""

from __future__ import annotations

import cv2
import pytest
import torch

from fourreal.errors import UserError
from gen.data.world.captions import VOCABULARY
from gen.network.base import BaseModel, save_base
from gen.network.params import SIZES
from pipeline.prompt import run_prompt
from pipeline.prompt_list import NAME, listing
from pipeline.prompt_options import Prompt
from pipeline.run_options import RunOptions


def test_a_line_a_kind_and_nothing_that_is_not_known():
    lines = listing(["a", "red", "ball", "bouncing", "horse", "galloping"])
    assert [line.split()[0] for line in lines] == ["subjects", "colours", "actions"]
    assert lines[0].endswith("ball, horse") and lines[2].endswith("bouncing, galloping")


def test_every_subject_is_drawn(tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "weights"
    save_base(BaseModel(SIZES["debug"], VOCABULARY), weights, {})
    out = tmp_path / "out"
    run_prompt(Prompt(list=True, weights=str(weights), run=RunOptions(out=str(out))))
    said = capsys.readouterr().out
    assert "subjects" in said and "capsule" in said and str(out / NAME) in said
    sheet = cv2.imread(str(out / NAME))
    assert sheet.shape[1] > 4 * 192 and sheet.shape[0] > 2 * 100  # six shapes, four in a row
    assert [p.name for p in out.iterdir()] == [NAME]


def test_what_cannot_be_listed_is_said(tmp_path):
    with pytest.raises(UserError, match="Wan takes any words"):
        run_prompt(Prompt(list=True, base="wan"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        run_prompt(Prompt(list=True, run=RunOptions(out=str(tmp_path / "file"))))
