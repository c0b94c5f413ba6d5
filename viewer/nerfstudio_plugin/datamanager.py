"""nerfstudio's full-image data manager over the cells of an exported scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.data.datamanagers.full_images_datamanager import (
    FullImageDatamanager,
    FullImageDatamanagerConfig,
)

from viewer.nerfstudio_plugin.dataparser import FourRealDataParserConfig


@dataclass
class FourRealDataManagerConfig(FullImageDatamanagerConfig):
    """Few and small pictures, kept as they are. ("cpu" would pin memory, which needs CUDA.)"""

    _target: type = field(default_factory=lambda: FullImageDatamanager)
    dataparser: FourRealDataParserConfig = field(default_factory=FourRealDataParserConfig)
    cache_images: Literal["cpu", "gpu"] = "gpu"
    cache_images_type: Literal["uint8", "float32"] = "uint8"
