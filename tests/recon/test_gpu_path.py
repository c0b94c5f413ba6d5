"""The CUDA path without a GPU: gsplat's own PyTorch code stands in for its kernels.

Everything between our call and the kernels runs here as on a GPU: shapes, the order of a
quaternion, three radii, the background, depth, gradients, and the `gpu` preset's whole fit.
What only a GPU can show is left to scripts/gpu_check.py.
"""

from __future__ import annotations

import math

import gsplat
import numpy as np
import pytest
import torch

from fourreal.cameras import Camera
from gen.grid import VideoGrid
from recon.config import preset
from recon.gaussians import Gaussians
from recon.raster import cuda
from recon.raster.rasterize import rasterize
from recon.reconstruct import fit_scene
from scripts.tools import gsplat_torch_reference as reference
from tests.recon.scenes import column_from_depth, moving_square

K = torch.tensor([[40.0, 0, 20], [0, 40.0, 12], [0, 0, 1]])


@pytest.fixture
def gpu(monkeypatch):
    """Tensors count as a GPU's; the list says how often gsplat was called."""
    calls: list[int] = []

    def rasterization(**given):
        calls.append(len(given["means"]))
        return reference.rasterization(**given)

    monkeypatch.delitem(reference.sys.modules, "nerfacc", raising=False)
    monkeypatch.setattr(gsplat, "rasterization", rasterization)
    monkeypatch.setattr(cuda, "gsplat_available", lambda: (True, ""))
    monkeypatch.setattr(cuda, "on_gpu", lambda tensor: True)
    yield calls
    reference.sys.modules.pop("nerfacc", None)


def gaussians(n: int = 60, anisotropic: bool = True) -> Gaussians:
    g = torch.Generator().manual_seed(3)
    own = {
        "means": torch.randn(n, 3, generator=g) * 0.3 + torch.tensor([0.0, 0, 2]),
        "scales": torch.rand(n, generator=g) * 0.08 + 0.03,
        "opacities": torch.rand(n, generator=g) * 0.8 + 0.1,
        "colors": torch.rand(n, 3, generator=g),
    }
    if anisotropic:
        own["stretch"] = torch.exp(torch.randn(n, 3, generator=g) * 0.5)
        own["rotations"] = torch.nn.functional.normalize(torch.randn(n, 4, generator=g), dim=1)
    return Gaussians(**{k: v.requires_grad_() for k, v in own.items()})


def camera() -> Camera:
    turn, eye = math.radians(12), torch.eye(4)
    eye[0, 0] = eye[2, 2] = math.cos(turn)
    eye[0, 2], eye[2, 0] = math.sin(turn), -math.sin(turn)
    eye[0, 3] = -0.4
    return Camera(eye, K, (24, 40))


@pytest.mark.parametrize("anisotropic", [False, True])
def test_pictures_and_slopes_are_those_of_the_cpu(gpu, anisotropic):
    background = torch.tensor([0.2, 0.5, 0.7])
    weights = torch.rand(24, 40, 3, generator=torch.Generator().manual_seed(1))
    drawn, slopes = [], []
    for backend in ("auto", "cpu"):
        scene = gaussians(anisotropic=anisotropic)
        out = rasterize(scene, camera(), background, backend)
        (out.rgb * weights).sum().backward()
        drawn.append(out)
        slopes.append([v.grad for v in vars(scene).values() if v is not None])
    assert gpu == [60]
    for name in ("rgb", "alpha"):
        assert (getattr(drawn[0], name) - getattr(drawn[1], name)).abs().max() < 2e-3, name
    seen = drawn[1].alpha > 0.3
    assert (drawn[0].depth - drawn[1].depth)[seen].abs().max() < 1e-2
    for one, other in zip(*slopes, strict=True):
        assert (one - other).norm() < 2e-2 * other.norm()


@pytest.mark.slow
def test_the_presets_whole_fit_runs_through_gsplat(gpu):
    config = preset("gpu")
    config.device, config.static_steps, config.floaters.steps = "cpu", 12, 4
    config.deformation.steps, config.deformation.mlp_width = 6, 32
    frames, depth, intrinsics, w2c = moving_square()
    column = column_from_depth(frames[:, 0], depth[:, 0], intrinsics, w2c, 1)
    scene, report = fit_scene(VideoGrid(frames[:, :2]), column, config)
    assert len(gpu) >= 12 + 4 + 6, "the fit was drawn by something else"
    assert all(np.isfinite(v.detach().numpy()).all() for v in (scene.means, scene.opacity_logits))
    assert report["psnr_input"] > 15
