"""Tiny networks with the interfaces of the metrics' real ones: packages, checkouts and weights.

The real interfaces were read in torchmetrics 1.9, torch-fidelity, cd-fvd, VideoScore, GIM (DKM),
DUSt3R and MEt3R. Every stand-in checks what it is given, so that a metric that calls the real one
wrongly fails here; its answers follow from how alike neighbouring frames are.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import torch

PACKAGES = ("torchmetrics", "torch_fidelity", "transformers", "cdfvd", "mantis", "met3r",
            "pytorch3d", "einops", "torchvision", "huggingface_hub")  # fmt: skip

SOURCES = {
    "torch_fidelity/__init__.py": "",
    "einops/__init__.py": "",
    "torchvision/__init__.py": "",
    "huggingface_hub/__init__.py": "",
    "pytorch3d/__init__.py": "",
    "torchmetrics/image/fid.py": """
        import torch
        class NoTrainInceptionV3(torch.nn.Module):
            def __init__(self, name, features_list, feature_extractor_weights_path=None):
                super().__init__()
                assert name == "inception-v3-compat" and features_list == ["2048"]
                state = torch.load(feature_extractor_weights_path, weights_only=True)
                self.register_buffer("scale", state["scale"])
            def forward(self, x):
                assert x.dtype == torch.uint8 and x.shape[1] == 3 and x.ndim == 4
                x = x.float() / 255
                parts = x.mean((2, 3)), x.std((2, 3)), x[:, :, ::2].mean((2, 3))
                return torch.cat(parts, 1) * self.scale
        """,
    "torchmetrics/multimodal/clip_score.py": """
        import pathlib, torch
        class CLIPScore(torch.nn.Module):
            def __init__(self, model_name_or_path):
                super().__init__()
                assert (pathlib.Path(model_name_or_path) / "config.json").is_file()
                assert "openai" in model_name_or_path
            def reset(self):
                self.scores = []
            def update(self, images, text):
                assert len(images) == len(text) and all(isinstance(t, str) for t in text)
                assert all(i.dtype == torch.uint8 and i.shape[0] == 3 for i in images)
                self.scores += [float(i.float().mean()) / 8 + len(t) for i, t in zip(images, text)]
            def compute(self):
                return torch.tensor(self.scores).mean()
        """,
    "transformers/__init__.py": """
        import torch
        class AutoProcessor:
            @classmethod
            def from_pretrained(cls, folder, local_files_only=False):
                assert local_files_only
                return cls()
            def __call__(self, text, images, return_tensors):
                assert return_tensors == "pt" and text.count("<image>") == len(images) > 1
                assert all(i.mode == "RGB" for i in images) and "{" not in text
                mean = sum(sum(i.resize((1, 1)).getpixel((0, 0))) for i in images) / len(images)
                return {"pixel_values": torch.tensor([[mean / 765]])}
        """,
    "mantis/models/idefics2.py": """
        import types, torch
        class Idefics2ForSequenceClassification(torch.nn.Module):
            @classmethod
            def from_pretrained(cls, folder, torch_dtype=None, local_files_only=False):
                assert local_files_only and torch_dtype == torch.bfloat16
                return cls()
            def forward(self, pixel_values):
                steps = torch.tensor([[1.0, 2.0, 30.0, 40.0, 3.0]])
                return types.SimpleNamespace(logits=(pixel_values + steps).to(torch.bfloat16))
        """,
    "cdfvd/third_party/i3d/utils.py": """
        import numpy, torch
        def load_i3d_model(device, ckpt_path=None):
            state = torch.load(ckpt_path, weights_only=True)
            net = torch.nn.Linear(6, 4).to(device)
            net.load_state_dict(state)
            return net
        def preprocess_i3d(videos, target_resolution=None):
            assert videos.dtype == numpy.uint8 and videos.shape[1] == 16 and videos.shape[4] == 3
            x = torch.from_numpy(videos).float() / 127.5 - 1
            return torch.cat([x.mean((1, 2, 3)), x.diff(dim=1).abs().mean((1, 2, 3))], 1)
        """,
    "cdfvd/third_party/VideoMAEv2/utils.py": """
        import numpy, torch
        class Net(torch.nn.Module):
            def forward_features(self, x):
                assert x.shape[1] == 3 and x.shape[2] == 16
                return torch.cat([x.mean((2, 3, 4)), x.diff(dim=2).abs().mean((2, 3, 4))], 1)
        def load_videomae_model(device, ckpt_path=None):
            torch.load(ckpt_path, weights_only=True)
            return Net().to(device)
        def preprocess_videomae(videos):
            assert videos.dtype == numpy.uint8 and videos.shape[4] == 3
            return torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float() / 255
        """,
    "met3r/met3r.py": """
        import pathlib, torch
        backbone_to_weights = {"mast3r": "naver/somewhere", "dust3r": "naver/elsewhere"}
        class MEt3R(torch.nn.Module):
            def __init__(self, img_size=256, use_norm=True, backbone="mast3r",
                         feature_backbone="dino16", upsampler="featup", distance="cosine",
                         freeze=True):
                super().__init__()
                assert pathlib.Path(backbone_to_weights[backbone]).is_dir()
                assert pathlib.Path(torch.hub.get_dir()).name == "met3r_hub"
                self.size = img_size
            def forward(self, images, return_overlap_mask=False):
                assert images.shape[1:] == (2, 3, self.size, self.size)
                assert -1 <= images.min() and images.max() <= 1
                return ((images[:, 0] - images[:, 1]).abs().mean((1, 2, 3)),)
        """,
}
GIM = """
    import torch
    class Matcher(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))
        def match(self, im1, im2):
            assert im1.shape == im2.shape and im1.shape[:2] == (1, 3) and 0 <= im1.min() <= 1
            alike = torch.exp(-self.gain * (im1 - im2).abs().mean(1))[0]
            certainty = torch.cat([alike, alike], 1)
            return torch.zeros(*certainty.shape, 4), certainty
    def DKMv3(weights, h, w):
        assert weights is None and (h, w) == (672, 896)
        return Matcher()
"""
DUST3R = """
    import json, pathlib, torch
    class AsymmetricCroCo3DStereo(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, folder):
            json.loads((pathlib.Path(folder) / "config.json").read_text())
            return cls()
        def forward(self, view1, view2):
            a, b = view1["img"], view2["img"]
            assert a.shape == b.shape and a.shape[2] % 16 == a.shape[3] % 16 == 0
            assert max(a.shape[2:]) == 512 and -1 <= a.min() and a.max() <= 1
            for view in (view1, view2):
                assert view["true_shape"].tolist() == [list(a.shape[2:])]
                assert len(view["instance"]) == len(a)
            conf = 1 + 4 * torch.exp(-10 * (a - b).abs().mean(1))
            points = torch.zeros(*conf.shape, 3)
            return {"pts3d": points, "conf": conf}, {"pts3d_in_other_view": points, "conf": conf}
"""
CARD = '# VideoScore\n```python\nREGRESSION_QUERY_PROMPT = """\nRate "{text_prompt}":\n"""\n```\n'


def _write(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        for parent in path.relative_to(folder).parents:
            (folder / parent / "__init__.py").touch()
    (folder / "__init__.py").unlink(missing_ok=True)


def make_packages(folder: Path) -> Path:
    """The packages, to be put before all others on the path."""
    _write(folder, SOURCES)
    return folder


def make_weights(folder: Path) -> Path:
    """A weights folder with the files of all metrics."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save({"scale": torch.ones(9)}, folder / "weights-inception-2015-12-05-6726825d.pth")
    torch.save(torch.nn.Linear(6, 4).state_dict(), folder / "i3d_pretrained_400.pt")
    torch.save({"module": {}}, folder / "vit_g_hybrid_pt_1200e_ssv2_ft.pth")
    gim = {"model.gain": torch.tensor(30.0), "model.encoder.net.fc.weight": torch.zeros(1)}
    torch.save({"state_dict": gim}, folder / "gim_dkm_100h.ckpt")
    _write(folder / "gim", {"networks/dkm/models/model_zoo/DKMv3.py": GIM})
    _write(folder / "dust3r", {"dust3r/model.py": DUST3R})
    for name in ("openai/clip-vit-base-patch16", "DUSt3R_ViTLarge_BaseDecoder_512_dpt",
                 "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric", "met3r_hub",
                 "VideoScore-v1.1"):  # fmt: skip
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({"tiny": True}))
    (folder / "VideoScore-v1.1" / "README.md").write_text(CARD)
    return folder
