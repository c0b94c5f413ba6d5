"""An exported 4D scene as a nerfstudio model: drawn by our rasterizer on CPU and CUDA.

A SplatfactoModel, so that the viewer treats it as Gaussians and ``ns-export gaussian-splat``
writes its canonical moment. Cameras without a time (``ns-render interpolate``) show the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from nerfstudio.viewer.viewer_elements import ViewerControl, ViewerSlider
from torch import Tensor
from torch.nn import Parameter, ParameterDict

_COLOUR_EDGE = 1e-6  # colours are stored as logits (sh_degree 0)


@dataclass
class FourRealModelConfig(SplatfactoModelConfig):
    """Settings of the model; the scene itself comes from the checkpoint."""

    _target: type = field(default_factory=lambda: FourRealModel)
    sh_degree: int = 0


class StartView(ViewerControl):
    """Puts every new browser behind the middle input camera instead of above the scene."""

    scene: Any = None

    def _setup(self, viewer: Any) -> None:
        super()._setup(viewer)
        viewer.viser_server.on_client_connect(self._place)

    def _place(self, client: Any) -> None:
        from viewer.nerfstudio_plugin.space import start_view

        if self.scene is None:
            return
        position, fov = start_view(self.scene)
        with client.atomic():
            client.camera.position = tuple(
                float(x) for x in position * VISER_NERFSTUDIO_SCALE_RATIO
            )
            client.camera.look_at = (0.0, 0.0, 0.0)
            client.camera.fov = fov


class FourRealModel(SplatfactoModel):
    """The scene of the checkpoint at the camera's time.

    Outputs of one camera: rgb [H,W,3], depth [H,W,1] (camera z; where nothing is, the largest),
    accumulation [H,W,1], background [H,W,3].
    """

    config: FourRealModelConfig

    def populate_modules(self) -> None:
        """An empty scene; ``load_state_dict`` fills it. No metric networks are loaded."""
        self.gauss_params = ParameterDict(_parameters(*(torch.zeros(0, n) for n in (3, 1, 3, 1))))
        self.scene4d: Any = None
        self.crop_box = None
        self.background_color = torch.zeros(3)
        self.step = 0
        self.compensation = ViewerSlider(
            "View compensation", 0.0, 0.0, 1.0, 0.05,
            hint="0: one consistent scene; 1: exact at the input views",
        )  # fmt: skip
        self.threshold = ViewerSlider("Hide opacity below", 0.0, 0.0, 1.0, 0.01)
        self.start_view = StartView()

    def load_state_dict(self, dict: Mapping[str, Tensor], **_: Any) -> None:  # type: ignore[override]
        """Take the scene from a checkpoint (``viewer.nerfstudio_plugin.state``)."""
        from viewer.nerfstudio_plugin.state import scene_from_state

        self.scene4d = self.start_view.scene = scene_from_state(dict).to(self.device)
        now = self.scene4d.at(float(self.scene4d.times[self.scene4d.canonical_time]))
        scales = now.scales[:, None] * (1 if now.stretch is None else now.stretch)
        parameters = _parameters(now.means, scales, now.colors, now.opacities[:, None])
        if now.rotations is not None:
            parameters["quats"] = Parameter(now.rotations.clone(), requires_grad=False)
        self.gauss_params = ParameterDict(parameters).to(self.device)
        self._draw(torch.eye(4), torch.eye(3), 8, 8, 0.0)  # compiles before the viewer interrupts

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Draw one camera (pinhole; other camera types are drawn as such)."""
        from viewer.nerfstudio_plugin.space import opencv_w2c

        assert camera.shape[0] == 1, "one camera at a time"
        K = camera.get_intrinsics_matrices()[0].cpu()
        width, height = int(camera.width.item()), int(camera.height.item())
        time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
        return self._draw(opencv_w2c(camera.camera_to_worlds[0]), K, width, height, time)

    def _draw(
        self, w2c: Tensor, K: Tensor, width: int, height: int, time: float
    ) -> dict[str, Tensor]:
        from fourreal.cameras import Camera
        from recon.raster.rasterize import rasterize

        scene = self.scene4d
        with torch.no_grad():
            now = scene.at(time, w2c, float(self.compensation.value))
            keep = now.opacities >= float(self.threshold.value)
            background = scene.background.to(now.means)
            if self.crop_box is not None:
                keep &= self.crop_box.within(now.means).flatten()
                background = self.background_color.to(now.means)
            seen = Camera(w2c, K, (height, width))
            rgb, alpha, depth = rasterize(now.keep(keep), seen, background)
        empty = alpha < 1e-3
        far = depth.max() if bool((~empty).any()) else depth.new_tensor(10.0)
        return {
            "rgb": rgb.clamp(0, 1),
            "depth": torch.where(empty, far, depth)[..., None],
            "accumulation": alpha[..., None],
            "background": background.expand(height, width, 3),
        }

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Nothing to train: scenes are fitted by run_pipeline.py."""
        raise RuntimeError(
            "fourreal scenes are made by run_pipeline.py (prompt, videos, grid), not by ns-train"
        )

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and SSIM of a cell (``ns-eval``)."""
        from fourreal.image_metrics import psnr, ssim

        target, drawn = self.get_gt_img(batch["image"]), outputs["rgb"]
        pair = drawn.cpu().numpy(), target.cpu().numpy()
        metrics = {"psnr": psnr(*pair), "ssim": ssim(*pair)}
        return metrics, {"img": torch.cat([target, drawn], dim=1)}


def _parameters(
    means: Tensor, scales: Tensor, colors: Tensor, opacities: Tensor
) -> dict[str, Parameter]:
    """Splatfacto's parameters. means, colors [N,3]; scales [N,1] or [N,3]; opacities [N,1]."""
    n = len(means)
    quats = torch.zeros(n, 4, device=means.device)
    quats[:, 0] = 1
    values = {
        "means": means,
        "scales": scales.log().expand(n, 3),
        "quats": quats,
        "features_dc": torch.logit(colors, eps=_COLOUR_EDGE),
        "features_rest": torch.zeros(n, 0, 3, device=means.device),
        "opacities": torch.logit(opacities, eps=_COLOUR_EDGE),
    }
    return {n: Parameter(v.detach().clone(), requires_grad=False) for n, v in values.items()}
