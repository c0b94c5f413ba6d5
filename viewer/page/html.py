"""One self-contained ``index.html`` of a 4D scene: player, styles and payload in a single file.

It needs WebGL2 and nothing else: no network, no server (it opens from ``file://``).
"""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from viewer.page.payload import decode, encode
from viewer.player_scene import PlayerScene

_SOURCES = Path(__file__).parent / "player"
_SCRIPTS = ("motion.js", "camera.js", "render.js", "controls.js", "player.js", "page.js")
_PAYLOAD = re.compile(rb'<script id="payload"[^>]*>([^<]*)</script>')


def write_player(scene: Any, path: str | Path, title: str | None = None, fps: float = 8.0) -> int:
    """Write the player of ``scene`` (``Scene4D`` or ``PlayerScene``) to ``path``; bytes written.

    The title is shown in the page; ``fps`` says how many stored times pass in a second. Both are
    part of a ``PlayerScene`` already and apply to a ``Scene4D``.
    """
    player_scene = PlayerScene.from_scene(scene, prompt=title or "", fps=fps)
    text = render_page(encode(player_scene), title or player_scene.prompt or player_scene.name)
    data = text.encode()
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def render_page(payload: bytes, title: str = "") -> str:
    """The whole page as text, with ``payload`` (see ``viewer.page.payload``) inside."""
    parts = {
        "TITLE": html.escape(title or "4D scene"),
        "STYLE": _source("style.css"),
        "WORKER": _source("motion.js") + _source("worker.js"),
        "PAYLOAD": base64.b64encode(payload).decode(),
        "SCRIPT": '"use strict";\n' + "".join(_source(name) for name in _SCRIPTS),
    }
    return re.sub(r"@([A-Z]+)@", lambda m: parts[m.group(1)], _source("player.html"))


def read_player(path: str | Path) -> PlayerScene:
    """Read the scene back out of a player page.

    Raises UserError when the file is absent, is no player or its payload is damaged.
    """
    try:
        page = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    found = _PAYLOAD.search(page)
    if found is None:
        raise UserError(f"{path}: not a player page (no payload in it); export it again")
    try:
        payload = base64.b64decode(found.group(1), validate=True)
    except ValueError as error:
        raise UserError(f"{path}: damaged player payload ({error}); export it again") from error
    return decode(payload, str(path))


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")
