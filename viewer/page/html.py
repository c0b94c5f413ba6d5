"""One self-contained ``index.html`` of a 4D scene: player, styles and payload in a single file.

It needs WebGL2 and nothing else: no network, no server (it opens from ``file://``). Split into page
and scene it needs a web server, and the picture comes before the scene.
"""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from viewer.page.payload import decode, encode, read_fr4d
from viewer.page.poster import poster
from viewer.player_scene import PlayerScene

_SOURCES = Path(__file__).parent / "player"
_SCRIPTS = (
    "motion.js", "camera.js", "shaders.js", "render.js", "controls.js", "player.js", "page.js",
)  # fmt: skip
# one after another, off the main thread
WORKER = ("motion.js", "worker.js", "packed.js", "container.js", "episodes.js")
_PAYLOAD = re.compile(rb'<script id="payload"([^>]*)>([^<]*)</script>')
_BESIDE = re.compile(rb' data-src="([A-Za-z0-9%._-]+)"')


def write_player(
    scene: Any, path: str | Path, title: str | None = None, fps: float = 8.0, split: bool = False
) -> int:
    """Write the player of ``scene`` (``Scene4D`` or ``PlayerScene``) to ``path``; bytes written.

    The title is shown in the page; ``fps`` says how many stored times pass in a second. Both are
    part of a ``PlayerScene`` already and apply to a ``Scene4D``. ``split`` puts the scene and the
    poster into files of the same name beside the page (.fr4d, .webp), for web servers.
    """
    target = Path(path)
    player = PlayerScene.from_scene(scene, prompt=title or "", fps=fps)
    payload, picture = encode(player), poster(player)
    title = title or player.prompt or player.name
    if not split:
        return _write(target, render_page(payload, title, picture).encode())
    beside, image = target.with_suffix(".fr4d"), target.with_suffix(".webp")
    written = _write(beside, payload) + _write(image, picture)
    page = _page(
        title,
        source=f' data-src="{quote(beside.name)}" data-bytes="{len(payload)}"',
        picture=quote(image.name),
        meta=f'<meta property="og:image" content="{quote(image.name)}">\n',
    )
    return written + _write(target, page.encode())


def render_page(payload: bytes, title: str = "", picture: bytes = b"") -> str:
    """The whole page as text, with ``payload`` (see ``viewer.page.payload``) inside.

    ``picture``: a WebP poster that is shown until the scene is there.
    """
    text = base64.b64encode(payload).decode()
    inline = base64.b64encode(picture).decode()
    return _page(
        title,
        payload=text,
        source=f' data-length="{len(text)}"',
        picture=f"data:image/webp;base64,{inline}" if picture else "",
    )


def worker_source() -> str:
    """The worker's code, as it lies in a page."""
    return "".join(_source(name) for name in WORKER)


def _page(
    title: str, payload: str = "", source: str = "", picture: str = "", meta: str = ""
) -> str:
    parts = {
        "TITLE": html.escape(title or "4D scene"),
        "META": meta,
        "STYLE": _source("style.css"),
        "POSTER": picture,
        "WORKER": worker_source(),
        "WATCH": _source("watch.js"),
        "SOURCE": source,
        "PAYLOAD": payload,
        "SCRIPT": '"use strict";\n' + "".join(_source(name) for name in _SCRIPTS),
    }
    return re.sub(r"@([A-Z]+)@", lambda m: parts[m.group(1)], _source("player.html"))


def _write(path: Path, data: bytes) -> int:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


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
    beside = _BESIDE.search(found.group(1))
    if beside is not None:
        return read_fr4d(Path(path).with_name(unquote(beside.group(1).decode())))
    try:
        payload = base64.b64decode(found.group(2), validate=True)
    except ValueError as error:
        raise UserError(f"{path}: damaged player payload ({error}); export it again") from error
    return decode(payload, str(path))


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")
