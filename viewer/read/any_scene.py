"""Open a scene file whatever wrote it: told by its content, not by its suffix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fourreal.errors import UserError
from recon.motion.turning import composed, turned
from recon.scene import Scene4D
from viewer.page.html import read_player
from viewer.page.payload import decode
from viewer.player_scene import Floats, PlayerScene
from viewer.read import open_4dgs

SUFFIXES = (".fr4d", ".4dgs", ".html")
_GZIP = b"\x1f\x8b"


def read_player_scene(path: str | Path) -> PlayerScene:
    """The scene of a ``.fr4d`` (old name ``.4dgs``), an open ``.4dgs`` container or a player page.

    Raises:
        UserError: absent, damaged or none of these.
    """
    file = Path(path)
    try:
        with file.open("rb") as handle:
            start = handle.read(16)
            if start.startswith((_GZIP, open_4dgs.MAGIC)):
                data = start + handle.read()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    if start.startswith(open_4dgs.MAGIC):
        scene = open_4dgs.decode_open_4dgs(data, str(file))
    elif start.startswith(_GZIP):
        scene = decode(data, str(file))
    elif file.suffix.lower() in (".html", ".htm"):
        scene = read_player(file)
    else:
        raise UserError(
            f"{file} is no 4D scene; give a run folder, scene.safetensors, .fr4d, .4dgs or a "
            "player's index.html"
        )
    return scene if scene.name else replace(scene, name=file.stem)


def as_scene(player: PlayerScene) -> Scene4D:
    """The same scene with a control node for every Gaussian that moves, for what needs one."""
    n = len(player.means)
    rest = int(np.abs(player.offsets).max((1, 2)).argmin())  # the time of the stored means
    start = player.offsets[rest]
    relative = player.offsets - start
    rotations, turns = _turns_from(player, rest)
    moves = (relative != 0).any((0, 2))
    if turns is not None:
        moves |= (turns != 0).any((0, 2))
    moving = np.flatnonzero(moves)
    nodes = np.concatenate(
        [np.zeros((len(player.times), 1, 3), np.float32), relative[:, moving]], 1
    )
    slopes = None
    if player.slopes is not None:
        slopes = np.concatenate([np.zeros_like(nodes[:, :1]), player.slopes[:, moving]], 1)
    if turns is not None:
        turns = np.concatenate([np.zeros_like(nodes[:, :1]), turns[:, moving]], 1)
    index = np.zeros((n, 1), np.int64)
    index[moving, 0] = np.arange(1, 1 + len(moving))
    opacities = np.clip(player.opacities.astype(np.float64), 1e-6, 1 - 1e-6)
    literal = player.offset_axes is not None
    canonical = _canonical_view(player)

    def tensor(values: object) -> torch.Tensor:
        return torch.as_tensor(np.array(values, np.float32))

    def optional(values: object) -> torch.Tensor | None:
        return None if values is None else tensor(values)

    return Scene4D(
        means=tensor(player.means + start),
        log_scales=tensor(player.log_scales),
        opacity_logits=tensor(np.log(opacities / (1 - opacities))),
        colors=tensor(player.colors),
        times=tensor(player.times),
        node_offsets=tensor(nodes),
        node_index=torch.as_tensor(index),
        node_weights=torch.ones(n, 1),
        view_offsets=torch.zeros(len(player.K), n, 3),
        K=tensor(player.K),
        w2c=tensor(player.w2c),
        size=player.size,
        canonical_time=rest,
        canonical_view=canonical,
        background=tensor(player.background),
        offset_frame="literal" if literal else "rotated",
        shade=optional(player.shade),
        visibility=optional(player.visibility),
        log_stretch=None if player.stretch is None else tensor(np.log(player.stretch)),
        rotations=optional(rotations),
        node_slopes=optional(slopes),
        node_turns=optional(turns),
        sheen=optional(player.sheen),
        sheen_from=optional(player.sheen_from),
    )


def _turns_from(player: PlayerScene, rest: int) -> tuple[Floats | None, Floats | None]:
    """Quaternions [N,4] at the stored time ``rest``, and the turns [T,N,3] from there."""
    if player.turns is None or player.rotations is None:
        return player.rotations, None
    turns = torch.from_numpy(player.turns)
    start = torch.from_numpy(player.rotations)
    relative = composed(turns, -turns[rest].expand_as(turns))
    relative[rest] = 0
    return turned(start, turns[rest]).numpy(), relative.numpy()


def _canonical_view(player: PlayerScene) -> int:
    """The view in whose axes literal offsets are given."""
    if player.offset_axes is None:
        return 0
    return int(np.abs(player.w2c[:, :3, :3] - player.offset_axes).sum((1, 2)).argmin())
