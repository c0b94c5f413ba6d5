"""Checkouts with the public interface of real trackers and depth networks, nothing else of them.

They really follow pixels (with OpenCV's flow) and know the true depth, so that what the adapters do
with the result can be measured. Facts of the interfaces: the module docstrings in tracking/.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

FOLLOW = '''
import cv2
import numpy as np
import torch

torch.manual_seed(0)  # the real ones do this when they are imported


def follow(images):
    """Flow of the first of images [T, 3, h, w] (0..255) to each: float32 [T, h, w, 2]."""
    assert images.ndim == 4 and images.shape[1] == 3 and float(images.max()) > 1.5
    gray = images.mean(1).round().byte().numpy()
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    h, w = gray.shape[1:]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    flows = [np.zeros((h, w, 2), np.float32)]
    for a, b in zip(gray[:-1], gray[1:]):
        step = solver.calc(a, b, None)
        d = flows[-1]
        flows.append(d + cv2.remap(step, x + d[..., 0], y + d[..., 1], cv2.INTER_LINEAR))
    return np.stack(flows)
'''

ALLTRACKER = """
import torch
import utils.misc


class Net(torch.nn.Module):
    def __init__(self, seqlen, use_basicencoder=False, no_split=False):
        super().__init__()
        assert seqlen == 16 and use_basicencoder == no_split
        layer = torch.nn.Linear(1, 1)
        if use_basicencoder:
            self.fnet = layer
        else:
            self.cnn = layer

    def forward_sliding(self, images, iters=4, sw=None, is_training=False, stride=None):
        B, T, C, H, W = images.shape
        assert B == 1 and T >= 2 and H % 8 == 0 and W % 8 == 0
        flow = torch.from_numpy(utils.misc.follow(images[0].cuda().cpu())).permute(0, 3, 1, 2)[None]
        sure = torch.full((1, T, 2, H, W), 0.9)
        if T == 2:
            return flow[:, 1], sure[:, 1], [], []
        return flow, sure, None, None
"""

DELTA_MODEL = """
import torch


class NAME(torch.nn.Module):
    def __init__(self, window_len=8, stride=4, add_space_attn=True, num_virtual_tracks=64,
                 model_resolution=(384, 512), only_learnup=False, upsample_factor=4EXTRA):
        super().__init__()
        assert window_len == 16
        self.model_resolution = model_resolution
        self.fnet = torch.nn.Linear(1, 1)
"""

DELTA_PREDICTOR = """
import torch
import torch.nn.functional as F
from densetrack3d.models.model_utils import follow


class DensePredictor3D(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.interp_shape, self.model = model.model_resolution, model

    def forward(self, video, videodepth, grid_query_frame=0, scale_input=True, scale_to_origin=True,
                use_efficient_global_attn=True, predefined_intrs=None):
        B, T, C, H, W = video.shape
        assert B == 1 and videodepth.shape == (1, T, 1, H, W) and grid_query_frame == 0
        assert predefined_intrs.shape == (3, 3) and float(videodepth.median()) > 0.1
        h, w = self.interp_shape
        video = F.interpolate(video[0], (h, w), mode="bilinear", align_corners=True)
        depth = F.interpolate(videodepth[0], (h, w), mode="nearest")[:, 0]
        flow = torch.from_numpy(follow(video))
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        uv = torch.stack([x, y], -1) + flow
        x, y = uv.round().long().unbind(-1)
        i = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
        z = depth.flatten(1).gather(1, i.flatten(1))
        uv = uv * torch.tensor([(W - 1) / (w - 1), (H - 1) / (h - 1)])
        return {
            "trajs_uv": uv.reshape(1, T, h * w, 2), "trajs_depth": z[None, ..., None],
            "vis": torch.ones(1, T, h * w, dtype=torch.bool),
            "conf": torch.full((1, T, h * w), 0.9),
            "trajs_3d_dict": {}, "dense_reso": (h, w),
        }
"""

MOGE = """
from pathlib import Path

import torch


class MoGeModel(torch.nn.Module):
    @classmethod
    def from_pretrained(cls, path):
        assert Path(path).is_file(), "the real one would ask a hub"
        model = cls()
        model.truth = torch.load(path, map_location="cpu", weights_only=True)
        return model

    def infer(self, image, use_fp16=True):
        assert image.ndim == 3 and image.shape[0] == 3 and float(image.max()) <= 1.0
        frame = int((self.truth["images"] - image).abs().mean((1, 2, 3)).argmin())
        depth = self.truth["depth"][frame].clone()
        depth[:3, :3] = float("inf")
        return {"depth": depth, "intrinsics": self.truth["intrinsics"]}
"""


def write(folder: Path, files: dict[str, str]) -> str:
    """Write source files into a folder with their packages; returns the folder as text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def alltracker(folder: Path, tiny: bool = False) -> tuple[str, str]:
    """(checkout, weights) of a stand-in for AllTracker."""
    path = write(folder, {"nets/alltracker.py": ALLTRACKER, "utils/misc.py": FOLLOW})
    name = "fnet" if tiny else "cnn"
    state = {f"{name}.weight": torch.zeros(1, 1), f"{name}.bias": torch.zeros(1)}
    torch.save({"model": state}, folder / "weights.pth")
    return path, str(folder / "weights.pth")


def delta(folder: Path, version: int = 1) -> tuple[str, str]:
    """(checkout, weights) of a stand-in for DELTA."""
    base = "densetrack3d/models"
    name, file, extra = (
        ("DenseTrack3D", "densetrack3d", "")
        if version == 1
        else ("DenseTrack3DV2", "densetrack3dv2", ", flash=False, coarse_to_fine_dense=True")
    )
    path = write(
        folder,
        {
            f"{base}/model_utils.py": FOLLOW,
            f"{base}/densetrack3d/{file}.py": DELTA_MODEL.replace("NAME", name).replace(
                "EXTRA", extra
            ),
            f"{base}/predictor/dense_predictor.py": DELTA_PREDICTOR,
        },
    )
    state = {"fnet.weight": torch.zeros(1, 1), "fnet.bias": torch.zeros(1)}
    torch.save(state, folder / "weights.pth")
    return path, str(folder / "weights.pth")


def moge(folder: Path, frames, depth, K, scales, noise: float = 0.02) -> tuple[str, str]:
    """(checkout, weights) of a stand-in for MoGe that knows the depth up to a scale a frame."""
    path = write(folder, {"moge/model/__init__.py": "", "moge/model/v2.py": MOGE})
    rng = np.random.default_rng(0)
    rough = depth * scales[:, None, None] * np.exp(noise * rng.normal(size=depth.shape))
    height, width = depth.shape[1:]
    unit = K / np.array([[width], [height], [1.0]])
    truth = {
        "model_config": {"neck": {}, "scale_head": {}},
        "images": torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()),
        "depth": torch.from_numpy(rough.astype(np.float32)),
        "intrinsics": torch.from_numpy(unit.astype(np.float32)),
    }
    torch.save(truth, folder / "model.pt")
    return path, str(folder / "model.pt")
