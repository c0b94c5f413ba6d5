"""nerfstudio's method "fourreal", and the configuration of an exported scene."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from viewer.nerfstudio_plugin.datamanager import FourRealDataManagerConfig
from viewer.nerfstudio_plugin.model import FourRealModelConfig

_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass
class ExportedConfig(TrainerConfig):
    """A configuration whose folder is that of ``config.yml`` itself.

    Its viewer listens on 127.0.0.1 unless the command line names an address: ``ns-viewer``
    replaces what ``config.yml`` says by its own default, all addresses.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ViewerConfig):
            told = _on_command_line("--viewer.websocket-host")
            if not told:
                value.websocket_host = "127.0.0.1"
            elif value.websocket_host == told and told not in _LOCAL:
                from fourreal.console import warn

                warn(f"listening on {told}: the viewer can be reached from other machines")
        super().__setattr__(name, value)

    def get_base_dir(self) -> Path:
        """The exported folder."""
        return self.output_dir


def _configuration(kind: type[TrainerConfig], **settings: object) -> TrainerConfig:
    return kind(
        method_name="fourreal",
        max_num_iterations=0,
        pipeline=VanillaPipelineConfig(
            datamanager=FourRealDataManagerConfig(), model=FourRealModelConfig()
        ),
        viewer=ViewerConfig(websocket_host="127.0.0.1"),
        vis="viewer",
        **settings,  # type: ignore[arg-type]
    )


def exported(folder: str) -> ExportedConfig:
    """The configuration of the scene exported to ``folder``; called by its ``config.yml``.

    A folder that was moved since is found through ``--load-config`` on the command line:
    nerfstudio does not say where the file that it reads lies.
    """
    place = Path(folder)
    named = Path(_on_command_line("--load-config") or folder)
    if named.is_file():
        place = named.resolve().parent
    config = _configuration(ExportedConfig, output_dir=place, experiment_name="", timestamp="")
    assert isinstance(config, ExportedConfig)
    config.pipeline.datamanager.data = place
    config.pipeline.datamanager.dataparser.data = place  # type: ignore[attr-defined]
    config.data = place
    return config


def _on_command_line(option: str) -> str:
    """What follows ``option`` on the command line; empty if it is not there."""
    for k, word in enumerate(sys.argv):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            return value if equals else "".join(sys.argv[k + 1 : k + 2])
    return ""


fourreal = MethodSpecification(
    config=_configuration(TrainerConfig),
    description="Look at a 4D scene made by fourreal (export it with --format nerfstudio)",
)
