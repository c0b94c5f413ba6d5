"""A web server on this machine that gives files as slowly as asked."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KINDS = {".html": "text/html; charset=utf-8", ".webp": "image/webp"}


@contextmanager
def slow_server(folder: Path, pause: float = 0.0, piece: int = 1 << 16) -> Iterator[str]:
    """Address of a server for ``folder``: ``piece`` bytes, ``pause`` seconds, and so on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder, pause, piece))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, folder: Path, pause: float, piece: int, *rest: object) -> None:
        self.folder, self.pause, self.piece = folder, pause, piece
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:  # noqa: N802 (the base class calls it)
        file = self.folder / self.path.split("?")[0].lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("content-type", KINDS.get(file.suffix, "application/octet-stream"))
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        try:
            for start in range(0, len(data), self.piece):
                self.wfile.write(data[start : start + self.piece])
                time.sleep(self.pause)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""
