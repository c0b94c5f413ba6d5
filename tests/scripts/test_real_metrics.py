"""The metrics with the real packages of extra [eval]: real code, tiny or random networks.

`.ci/run-eval` runs these; elsewhere they are skipped where the packages are not installed.
"""

from __future__ import annotations

import json
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.evaluate.metrics.clip_score import ClipScore
from scripts.evaluate.metrics.fid import FID
from scripts.evaluate.metrics.frechet import frechet_distance
from scripts.evaluate.metrics.fvd import I3DFVD, VideoMAEFVD
from scripts.evaluate.metrics.interface import InputPair, References, Sample
from tests.scripts.test_paper_metrics import smooth_grid
from tests.viewer.ns_command import declare_missing_operators


@pytest.fixture(scope="module", autouse=True)
def packages():
    """In the lane a missing package is a failure."""
    for name in ("torchvision", "torchmetrics", "torch_fidelity", "transformers", "cdfvd"):
        if find_spec(name) is None:
            stop = pytest.fail if os.environ.get("FOURREAL_LANE") == "eval" else pytest.skip
            stop(f"{name} is not installed (extra [eval])")
    declare_missing_operators()


def small(frames: np.ndarray) -> Sample:
    return Sample("a", frames[:2, :2], "a red ball")


def test_frechet_distance_agrees_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Means(torch.nn.Module):
        num_features = 6

        def forward(self, x):
            x = x.double() / 255
            return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    g = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, high, (40, 3, 16, 16), generator=g) for high in (256, 200))
    a, b = a.to(torch.uint8), b.to(torch.uint8)
    metric = FrechetInceptionDistance(feature=Means(), input_img_size=(3, 16, 16))
    metric.set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    ours = frechet_distance(*(Means()(x).numpy() for x in (a, b)))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-4, abs=1e-6)


def test_inception_is_read_from_a_file(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Net

    with monkeypatch.context() as patch:  # the constructor reads weights: none exist yet
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(Net, "load_state_dict", lambda *_: None)
        state = Net("inception-v3-compat", ["2048"], "nothing").state_dict()
    torch.save(state, tmp_path / FID.needs.files[0])
    metric = FID(tmp_path)
    assert metric.is_available() == (True, "")
    frames = smooth_grid()
    made = metric.measure(small(frames))["features"]
    inputs = metric.measure_inputs(InputPair(frames[0, :2], frames[:2, 0]))["features"]
    assert made.shape == (1, 2048) and inputs.shape == (3, 2048) and np.isfinite(made).all()


def test_clip_is_read_from_a_folder(tmp_path):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder = tmp_path / ClipScore.needs.files[0]
    folder.mkdir(parents=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2}  # fmt: skip
    text = {**size, "vocab_size": len(words), "eos_token_id": len(words) - 1,
            "bos_token_id": len(words) - 2}  # fmt: skip
    config = CLIPConfig(
        text_config=text,
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    metric = ClipScore(tmp_path)
    assert metric.is_available() == (True, "")
    record = metric.measure(small(smooth_grid()))
    value = metric.summary([record], References())["clip"].value
    assert -100 <= value <= 100 and value == pytest.approx(float(record["score"][0]))


def test_i3d_is_read_from_a_file(tmp_path):
    from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d

    torch.manual_seed(0)
    net = InceptionI3d(400, in_channels=3)
    torch.save(net.state_dict(), tmp_path / I3DFVD.needs.files[0])
    metric = I3DFVD(tmp_path)
    assert metric.is_available() == (True, "")
    record = metric.measure(small(smooth_grid()))
    assert record["time"].shape == record["view"].shape == (1, 400)
    assert np.isfinite(record["time"]).all()


def test_videomae_is_read_from_a_file(tmp_path, monkeypatch):
    """The real loader and preprocessing; the network is small, the real one has 1 billion."""
    from cdfvd.third_party.VideoMAEv2 import utils
    from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer

    def giant(pretrained, **options):
        norm = partial(torch.nn.LayerNorm, eps=1e-6)
        small = {"patch_size": 56, "embed_dim": 16, "depth": 1, "num_heads": 2}
        return VisionTransformer(**small, norm_layer=norm, **options)

    monkeypatch.setattr(utils, "vit_giant_patch14_224", giant)
    settings = {"img_size": 224, "num_classes": 174, "all_frames": 16, "tubelet_size": 2,
                "drop_path_rate": 0.3, "use_mean_pooling": True}  # fmt: skip
    state = giant(False, **settings).state_dict()
    torch.save({"module": state}, Path(tmp_path) / VideoMAEFVD.needs.files[0])
    metric = VideoMAEFVD(tmp_path)
    assert metric.is_available() == (True, "")
    record = metric.measure(small(smooth_grid()))
    assert record["time"].shape == (1, 16) and np.isfinite(record["view"]).all()
