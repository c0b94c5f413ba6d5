"""The CPU rasterizer against the float64 dense reference, and properties of rasterization."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster.cpu.function import rasterize_cpu
from recon.raster.rasterize import RasterOutput, rasterize

NAMES = ("means", "scales", "opacities", "colors")


def intrinsics(width: int, height: int) -> Tensor:
    focal = 0.9 * width
    return torch.tensor(
        [[focal, 0, 0.52 * width], [0, 1.05 * focal, 0.47 * height], [0, 0, 1]],
        dtype=torch.float64,
    )


def tilted_camera() -> Tensor:
    """A world-to-camera matrix that is neither the identity nor axis-aligned."""
    w2c = torch.eye(4, dtype=torch.float64)
    skew = torch.tensor([[0, -0.1, 0.2], [0.1, 0, -0.05], [-0.2, 0.05, 0]], dtype=torch.float64)
    w2c[:3, :3] = torch.linalg.matrix_exp(skew)
    w2c[:3, 3] = torch.tensor([0.1, -0.2, 0.3])
    return w2c


def random_scene(n: int, seed: int = 0, **ranges: tuple[float, float]) -> dict[str, Tensor]:
    """N Gaussians around the view frustum, some behind the camera, some far off the axis."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    z = uniform(*ranges.get("z", (1.0, 4.0)), n, 1)
    xy = uniform(-0.8, 0.8, n, 2) * z
    scene = {
        "means": torch.cat((xy, z), 1),
        "scales": uniform(*ranges.get("scales", (0.02, 0.2)), n) * z[:, 0],
        "opacities": uniform(*ranges.get("opacities", (0.05, 0.95)), n),
        "colors": uniform(0.0, 1.0, n, 3),
    }
    if n >= 40:
        scene["means"][:4, 2] = torch.tensor([-1.0, 0.005, 0.2, 0.0])
        scene["means"][4:8, 0] *= 6
        scene["scales"][8:10] = 2.0
        scene["opacities"][10:16] = torch.tensor([0.9999, 1.0, 0.9995, 0.003, 0.0, 0.0039])
    return scene


def render(scene: dict[str, Tensor], width: int, height: int, **kwargs) -> RasterOutput:
    kwargs = {"w2c": tilted_camera(), "K": intrinsics(width, height), **kwargs}
    camera = Camera(kwargs.pop("w2c"), kwargs.pop("K"), (height, width))
    return rasterize(Gaussians(**scene), camera, **kwargs)


def with_gradients(
    scene: dict[str, Tensor], width: int, height: int, dtype: torch.dtype, **kwargs
) -> tuple[RasterOutput, dict[str, Tensor]]:
    """Render, then gradients of a fixed random linear loss on every output."""
    leaves = {k: v.detach().clone().to(dtype).requires_grad_() for k, v in scene.items()}
    device = scene["means"].device
    leaves["background"] = torch.tensor(
        [0.2, 0.5, 0.9], dtype=dtype, device=device, requires_grad=True
    )
    leaves["w2c"] = tilted_camera().to(dtype).requires_grad_()
    shown = {k: v for k, v in leaves.items() if k not in ("background", "w2c")}
    seen = {"background": leaves["background"], "w2c": leaves["w2c"], **kwargs}
    out = render(shown, width, height, **seen)
    generator = torch.Generator().manual_seed(7)
    loss = sum(
        (v * torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v)).sum()
        for v in out
    )
    loss.backward()
    return out, {k: v.grad for k, v in leaves.items()}


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm().clamp(min=1e-12))


@pytest.mark.parametrize(
    ("width", "height", "n", "ranges"),
    [
        (48, 32, 150, {}),
        (97, 35, 200, {"scales": (0.01, 0.05)}),
        (40, 40, 120, {"opacities": (0.95, 0.9999)}),
        (40, 24, 120, {"z": (100.0, 400.0)}),
        (64, 16, 200, {"opacities": (0.004, 0.05), "scales": (0.1, 0.4)}),
        (7, 5, 60, {}),
        (1, 1, 30, {}),
    ],
)
def test_matches_the_float64_reference(width, height, n, ranges):
    scene = random_scene(n, **ranges)
    want, want_grads = with_gradients(scene, width, height, torch.float64, backend="dense")
    got, got_grads = with_gradients(scene, width, height, torch.float32, backend="cpu")
    span = float(scene["means"][:, 2].max())
    for name, tolerance in (("rgb", 1e-5), ("alpha", 1e-5), ("depth", 2e-5 * span)):
        difference = (getattr(got, name) - getattr(want, name)).abs().max()
        assert difference <= tolerance, f"{name} differs by {difference}"
    for name, grad in got_grads.items():
        assert relative(grad, want_grads[name]) <= 1e-4, name


def shaped(scene: dict[str, Tensor]) -> dict[str, Tensor]:
    """The scene with random radii and rotations."""
    generator = torch.Generator().manual_seed(5)
    n = len(scene["means"])
    stretch = torch.exp(0.6 * torch.randn(n, 3, generator=generator))
    return {**scene, "stretch": stretch, "rotations": torch.randn(n, 4, generator=generator)}


def test_shapes_match_the_float64_reference():
    scene = shaped(random_scene(150))
    want, want_grads = with_gradients(scene, 48, 32, torch.float64, backend="dense")
    got, got_grads = with_gradients(scene, 48, 32, torch.float32, backend="cpu")
    for name, tolerance in (("rgb", 2e-5), ("alpha", 2e-5), ("depth", 1e-4)):
        assert (getattr(got, name) - getattr(want, name)).abs().max() <= tolerance, name
    for name, grad in got_grads.items():
        assert relative(grad, want_grads[name]) <= 2e-4, name
    round_ones = {k: v for k, v in scene.items() if k not in ("stretch", "rotations")}
    assert (render(round_ones, 48, 32).rgb - got.rgb).abs().max() > 0.05


@pytest.mark.parametrize("backend", ["cpu", "dense"])
def test_an_unstretched_shape_is_round_however_it_is_turned(backend):
    scene = random_scene(80)
    turned = {**shaped(scene), "stretch": torch.ones(80, 3)}
    want, got = render(scene, 40, 24, backend=backend), render(turned, 40, 24, backend=backend)
    assert (want.rgb - got.rgb).abs().max() < 1e-5


def test_a_long_gaussian_points_along_its_axis():
    one = {
        "means": torch.tensor([[0.0, 0.0, 2.0]]), "scales": torch.tensor([0.05]),
        "opacities": torch.tensor([0.9]), "colors": torch.ones(1, 3),
        "stretch": torch.tensor([[6.0, 1.0, 1.0]]),
        "rotations": torch.tensor([[2**0.5, 0.0, 0.0, 2**0.5]]),  # a quarter turn about z
    }  # fmt: skip
    alpha = render(one, 41, 41, w2c=torch.eye(4)).alpha
    rows, columns = (alpha > 0.2).any(1).sum(), (alpha > 0.2).any(0).sum()
    assert rows > 2 * columns


def test_deep_scene_ends_early_like_the_reference():
    """Hundreds of layers: tiles are finished long before their lists are."""
    scene = random_scene(600, scales=(0.3, 0.6), opacities=(0.4, 0.9))
    want, want_grads = with_gradients(scene, 20, 12, torch.float64, backend="dense")
    got, got_grads = with_gradients(scene, 20, 12, torch.float32, backend="cpu")
    assert (got.rgb - want.rgb).abs().max() < 1e-5
    assert relative(got_grads["means"], want_grads["means"]) < 1e-4


def test_gradients_do_not_depend_on_who_moves_the_means():
    """With a fixed pose the kernels go to camera coordinates, with a learned one torch does."""
    results = []
    for learned in (False, True):
        scene = {k: v.clone().requires_grad_() for k, v in random_scene(100).items()}
        out = render(scene, 60, 40, w2c=tilted_camera().float().requires_grad_(learned))
        torch.autograd.backward(list(out), [torch.ones_like(v) for v in out])
        results.append([*(v.detach() for v in out), *(v.grad for v in scene.values())])
    for one, other in zip(*results, strict=True):
        assert relative(one, other.double()) < 1e-5


def test_pose_gradient_moves_like_the_means():
    """Translating the camera is translating every Gaussian the other way."""
    scene = random_scene(50, seed=3)
    scene["means"].requires_grad_()
    w2c = torch.eye(4, requires_grad=True)
    render(scene, 40, 30, w2c=w2c).rgb.square().sum().backward()
    assert torch.allclose(w2c.grad[:3, 3], scene["means"].grad.sum(0), rtol=1e-3, atol=1e-4)


def test_order_of_gaussians_does_not_matter():
    scene = random_scene(120)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    shuffled = {k: v[order] for k, v in scene.items()}
    for one, other in zip(render(scene, 50, 40), render(shuffled, 50, 40), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_bits(threads):
    scene = random_scene(300)
    K, means = intrinsics(200, 90), scene["means"]
    results = []
    for count in (1, threads):
        leaves = [means.clone(), *(scene[k].clone() for k in NAMES[1:])]
        for leaf in leaves:
            leaf.requires_grad_()
        camera = Camera(torch.eye(4), K, (90, 200))
        out = rasterize_cpu(Gaussians(*leaves), camera, threads=count)
        torch.autograd.backward(out, [torch.ones_like(v) for v in out])
        results.append([*out, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_transparent_gaussians_are_invisible():
    scene = random_scene(30)
    scene["opacities"] = torch.zeros(30)
    out = render(scene, 20, 10)
    assert all(float(v.abs().max()) == 0 for v in out)


@pytest.mark.parametrize("n", [0, 5])
def test_nothing_in_view_shows_the_background(n):
    scene = {k: v[:n].clone() for k, v in random_scene(5).items()}
    scene["means"][:, 2] = -2.0
    for value in scene.values():
        value.requires_grad_()
    background = torch.tensor([0.1, 0.2, 0.3])
    out = render(scene, 20, 10, w2c=torch.eye(4), background=background)
    assert torch.equal(out.rgb, background.expand(10, 20, 3))
    assert not out.alpha.any() and not out.depth.any()
    out.rgb.sum().backward()
    assert all(torch.isfinite(v.grad).all() and not v.grad.any() for v in scene.values())


def test_background_fills_what_alpha_leaves():
    scene = random_scene(40)
    background = torch.tensor([0.3, 0.6, 0.1])
    black, filled = render(scene, 40, 30), render(scene, 40, 30, background=background)
    want = black.rgb + (1 - black.alpha)[..., None] * background
    assert torch.allclose(filled.rgb, want, atol=1e-6)
    assert torch.equal(black.depth, filled.depth)


def test_a_crop_is_a_shifted_principal_point():
    """Pixels do not depend on where tiles and image borders fall.

    Footprints stay below 10 pixels, or the ray clamp, which follows the image, would show.
    """
    scene = random_scene(39, scales=(0.005, 0.02))
    K = intrinsics(150, 60)
    whole = render(scene, 150, 60, K=K)
    shifted = K.clone()
    shifted[0, 2] -= 33
    part = render(scene, 70, 60, K=shifted)
    assert (whole.alpha > 0.1).any()
    assert torch.allclose(part.rgb, whole.rgb[:, 33:103], atol=2e-5)


def test_one_gaussian_in_the_middle():
    """On the axis, alpha is opacity * exp(-r^2 / (2 (s^2 f^2 / z^2 + 0.3)))."""
    K = torch.tensor([[50.0, 0, 16.5], [0, 50.0, 12.5], [0, 0, 1]])
    one = Gaussians(
        torch.tensor([[0.0, 0.0, 2.0]]),
        torch.tensor([0.1]),
        torch.tensor([0.8]),
        torch.tensor([[1.0, 0.5, 0.0]]),
    )
    out = rasterize(one, Camera(torch.eye(4), K, (25, 33)))
    variance = (0.1 * 50 / 2) ** 2 + 0.3
    want = 0.8 * torch.exp(-torch.tensor([0.0, 9.0, 16.0]) / (2 * variance))
    got = torch.stack((out.alpha[12, 16], out.alpha[12, 19], out.alpha[8, 16]))
    assert torch.allclose(got, want, atol=1e-6)
    assert torch.allclose(out.rgb[12, 16], torch.tensor([0.8, 0.4, 0.0]), atol=1e-6)
    assert torch.allclose(out.depth[12, 16], torch.tensor(2.0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["cpu", "dense"])
def test_values_that_are_not_finite_are_named(name, value, backend):
    scene = random_scene(20)
    scene[name][7] = value
    with pytest.raises(ValueError, match=f"{name}.* must be finite"):
        render(scene, 16, 8, w2c=torch.eye(4), backend=backend)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": torch.ones(20, 3)}, r"scales must have shape \[20\], got \[20, 3\]"),
        ({"colors": torch.ones(19, 3)}, r"colors must have shape \[20, 3\], got \[19, 3\]"),
        ({"opacities": torch.ones(20).double()}, "opacities must be torch.float32"),
        ({"means": torch.ones(20, 3).int()}, "means must be a floating-point tensor"),
        ({"w2c": torch.eye(3)}, r"w2c must have shape \[4, 4\], got \[3, 3\]"),
        ({"w2c": torch.full((4, 4), float("nan"))}, "w2c and K must be finite"),
        ({"background": torch.zeros(1)}, r"background must have shape \[3\], got \[1\]"),
        ({"stretch": torch.ones(20, 3)}, "stretch and rotations go together"),
        (
            {"stretch": torch.ones(20, 3), "rotations": torch.ones(20, 3)},
            r"rotations must have shape \[20, 4\], got \[20, 3\]",
        ),
        ({"width": 0}, "width and height must be at least 1, got 0x8"),
        ({"height": 100_000}, "image must be at most"),
        ({"backend": "opengl"}, "backend must be one of"),
    ],
)
def test_wrong_arguments_are_explained(change, message):
    view = {"w2c": torch.eye(4), "K": intrinsics(16, 8), "width": 16, "height": 8}
    own = {f.name for f in fields(Gaussians)}
    scene = random_scene(20) | {k: v for k, v in change.items() if k in own}
    view |= {k: v for k, v in change.items() if k not in own}
    with pytest.raises(ValueError, match=message):
        render(scene, **view)


def test_double_precision_is_refused_on_the_cpu_backend():
    scene = {k: v.double() for k, v in random_scene(5).items()}
    with pytest.raises(ValueError, match="takes float32 tensors on the CPU, got torch.float64"):
        render(scene, 16, 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_gsplat_without_cuda_says_so():
    with pytest.raises(ValueError, match="no CUDA device"):
        render(random_scene(5), 16, 8, backend="gsplat")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device for gsplat")
def test_gsplat_agrees_with_the_cpu():
    scene = random_scene(200)
    on_gpu = {k: v.cuda() for k, v in scene.items()}
    want, want_grads = with_gradients(scene, 64, 40, torch.float32, backend="cpu")
    got, got_grads = with_gradients(on_gpu, 64, 40, torch.float32, backend="gsplat")
    assert (got.rgb.cpu() - want.rgb).abs().max() < 1e-4
    for name in NAMES:
        assert relative(got_grads[name].cpu(), want_grads[name].double()) < 1e-3, name


def test_gsplat_is_called_as_its_signature_asks(monkeypatch):
    """Without a GPU: what we pass fits gsplat's function, what it returns is taken apart right."""
    import inspect

    import gsplat

    from recon.raster import cuda as raster_gsplat

    scene = random_scene(30)
    dense = render(scene, 20, 10, w2c=torch.eye(4), backend="dense")
    signature = inspect.signature(gsplat.rasterization)

    def fake(**kwargs):
        signature.bind(**kwargs)
        assert kwargs["quats"].shape == (30, 4) and kwargs["scales"].shape == (30, 3)
        assert kwargs["viewmats"].shape == (1, 4, 4) and kwargs["Ks"].shape == (1, 3, 3)
        rendered = torch.cat((dense.rgb, dense.depth[..., None]), -1)
        return rendered[None], dense.alpha[None, ..., None], {}

    class OnGpu(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(gsplat, "rasterization", fake)
    monkeypatch.setattr(raster_gsplat, "gsplat_available", lambda: (True, ""))
    inputs = {k: v.as_subclass(OnGpu) for k, v in scene.items()}
    background = torch.tensor([0.2, 0.4, 0.6]).as_subclass(OnGpu)
    out = render(inputs, 20, 10, w2c=torch.eye(4), background=background)
    want = dense.rgb + (1 - dense.alpha)[..., None] * torch.tensor([0.2, 0.4, 0.6])
    assert torch.allclose(out.rgb.as_subclass(torch.Tensor), want)
    assert torch.equal(out.depth.as_subclass(torch.Tensor), dense.depth)
