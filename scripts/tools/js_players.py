"""JavaScript players of other projects in headless Chromium: one picture of a file of ours.

The packages lie in ``$FOURREAL_NODE`` (a folder with ``node_modules``, filled with
``npm install three gsplat @sparkjsdev/spark gltf-validator @playcanvas/splat-transform``). A server
on 127.0.0.1 gives the page its modules and the file; nothing else is loaded.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from scripts.tools.browser import Browser

Picture = NDArray[np.uint8]
_PAGES = Path(__file__).parent / "players"
NEEDS = {
    "three": ("three",),
    "spark": ("three", "@sparkjsdev/spark"),
    "gsplat": ("gsplat",),
    "babylon": ("babylonjs", "babylonjs-loaders"),
}
PACKAGES = (
    *("three", "gsplat", "@sparkjsdev/spark", "babylonjs", "babylonjs-loaders"),
    *("gltf-validator", "@playcanvas/splat-transform"),
)


def node_folder(*needed: str) -> Path:
    """The folder of the packages. Raises UserError when one of ``needed`` is not in it."""
    named = os.environ.get("FOURREAL_NODE", "")
    for package in needed:
        if not named or not Path(named, "node_modules", package, "package.json").is_file():
            raise UserError(
                f"no npm package {package}; npm install --prefix DIR {' '.join(PACKAGES)}, then "
                "FOURREAL_NODE=DIR"
            )
    return Path(named)


def shown_by(
    player: str,
    file: Path,
    w2c: NDArray,
    K: NDArray,
    size: tuple[int, int],
    t: float = 0.0,
    background: NDArray | None = None,
) -> Picture:
    """What a player draws of ``file``, RGB uint8 of ``size`` (height, width).

    Args:
        player: "three" or "babylon" (.glb), "spark" (.spz, .ply, .sog) or "gsplat" (.splatv).
        w2c: [4,4] and K: [3,3], OpenCV axes of the scene (y down); square pixels, the principal
            point in the middle.
        t: 0..1, for files that move.

    Raises:
        UserError: the package is not installed.
        RuntimeError: what the page says went wrong.
    """
    folder = node_folder(*NEEDS[player])
    height, width = size
    ask = {
        "file": f"/file/{file.name}",
        "w2c": np.asarray(w2c, float).ravel().tolist(),
        "K": np.asarray(K, float).ravel().tolist(),
        "size": [height, width],
        "time": t,
        "background": [0.0, 0.0, 0.0] if background is None else np.asarray(background).tolist(),
    }
    with _served(folder, file.parent) as address, Browser(width, height) as browser:
        browser.open(f"{address}/page/{player}.html")
        browser.evaluate("window.ready, 0")
        url = browser.evaluate(f"window.picture({json.dumps(ask)})")
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(url.split(",", 1)[1]), np.uint8), cv2.IMREAD_COLOR
    )
    if picture is None:
        raise RuntimeError(f"{player} gave no picture")
    return np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8)


@contextmanager
def _served(node: Path, files: Path) -> Iterator[str]:
    """Address of a server for /page, /node_modules and /file on this machine alone."""
    roots = {"page": _PAGES, "node_modules": node / "node_modules", "file": files}
    handler = partial(_Handler, roots)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(SimpleHTTPRequestHandler):
    """Files below a few named folders."""

    extensions_map = {  # noqa: RUF012 (as the base class has it)
        ".html": "text/html",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def __init__(self, roots: dict[str, Path], *arguments: object) -> None:
        self.roots = roots
        super().__init__(*arguments)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        first, _, rest = path.split("?")[0].lstrip("/").partition("/")
        root = self.roots.get(first)
        wanted = (root / rest).resolve() if root else None
        inside = wanted is not None and root is not None and root.resolve() in wanted.parents
        return str(wanted) if inside else "/nonexistent"

    def log_message(self, *_: object) -> None:
        """Say nothing."""
