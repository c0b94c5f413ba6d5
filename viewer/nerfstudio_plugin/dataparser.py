"""The input cells of an exported scene as a nerfstudio data set with times.

Split "train" is the freeze-time column (one camera a view: what the viewer shows as frusta);
"val" and "test" are all known cells, view by view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import (
    DataParser,
    DataParserConfig,
    DataparserOutputs,
)
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from viewer.nerfstudio_plugin.data_file import read_data


@dataclass
class FourRealDataParserConfig(DataParserConfig):
    """What to read."""

    _target: type = field(default_factory=lambda: FourRealDataParser)
    data: Path = Path("nerfstudio")
    """Folder written by ``run_pipeline.py export DIR --format nerfstudio``."""


@dataclass
class FourRealDataParser(DataParser):
    """Cameras, times and pictures of an exported scene."""

    config: FourRealDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **_: object) -> DataparserOutputs:
        data = read_data(self.config.data)
        frames = data["frames"]
        if split == "train":
            first: dict[int, dict] = {}
            for frame in frames:
                first.setdefault(frame["view"], frame)
            frames = list(first.values())
        cameras = [data["cameras"][f["view"]] for f in frames]
        K = torch.tensor([c["K"] for c in cameras])
        height, width = data["size"]
        space = data["from_scene"]
        return DataparserOutputs(
            image_filenames=[Path(self.config.data) / f["file"] for f in frames],
            cameras=Cameras(
                camera_to_worlds=torch.tensor([c["camera_to_world"] for c in cameras]),
                fx=K[:, 0, 0],
                fy=K[:, 1, 1],
                cx=K[:, 0, 2],
                cy=K[:, 1, 2],
                width=width,
                height=height,
                camera_type=CameraType.PERSPECTIVE,
                times=torch.tensor([[f["time"]] for f in frames]),
            ),
            scene_box=SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
            dataparser_transform=torch.cat(
                [torch.tensor(space["rotation"]), torch.tensor(space["translation"])[:, None]], 1
            ).float(),
            dataparser_scale=float(space["scale"]),
        )


fourreal_dataparser = DataParserSpecification(
    config=FourRealDataParserConfig(), description="A scene exported by fourreal"
)
