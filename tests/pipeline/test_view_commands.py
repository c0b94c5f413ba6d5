"""``--view`` and ``view`` as a user starts them: whole processes, a browser, Ctrl-C."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gen.data.world.grid import make_grid
from recon.scene import Scene4D
from scripts.tools.browser import Browser
from scripts.tools.viser_page import canvas, until
from tests.chromium import PATIENCE, need_chromium
from tests.viewer.listening import listening_addresses
from tests.viewer.toy_scene import toy_scene
from viewer.export.open_4dgs import write_open_4dgs
from viewer.page.payload import write_fr4d

REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Command:
    """A running ``run_pipeline.py`` whose output lies in a file."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "run_pipeline.py", *map(str, arguments)],
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        def there() -> bool:
            assert text in self.said() or self.process.poll() is None, self.said()[-2000:]
            return text in self.said()

        until(there, PATIENCE, f"never said {text!r}: {self.said()[-500:]}")

    def ends_on(self, sign: signal.Signals) -> int:
        self.process.send_signal(sign)
        return self.process.wait(max(30.0, PATIENCE))

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.mark.slow
def test_a_fit_is_watched_in_the_browser_from_its_first_scene_to_ctrl_c(tmp_path):
    need_chromium("the live view is not looked at")
    grid, _, _ = make_grid(seed=5, V=4, T=3, size=(48, 80))
    grid.K = grid.w2c = None
    grid.save_npz(tmp_path / "grid.npz")
    port = free_port()
    arguments = ("--out", tmp_path / "run", "--preset", "debug", "--view", "--port", port)
    with Command(tmp_path / "log", "grid", tmp_path / "grid.npz", *arguments) as command:
        command.wait_for(f"watch it at http://127.0.0.1:{port}")
        assert listening_addresses(port) == {"127.0.0.1"}
        with Browser(640, 360) as browser:
            browser.call("Page.navigate", url=f"http://127.0.0.1:{port}")

            def shows_the_scene() -> bool:
                return bool(canvas(browser, PATIENCE)[60:300, 100:380].std() > 0.08)

            until(shows_the_scene, PATIENCE, "the page stays empty")
            command.wait_for("Ctrl-C ends it")
            until(shows_the_scene, PATIENCE, "the page of the finished scene is empty")
        assert len(Scene4D.load(tmp_path / "run" / "scene.safetensors")) > 100
        assert command.ends_on(signal.SIGINT) == 0
        assert "viewer ended" in command.said() and "Traceback" not in command.said()
    assert listening_addresses(port) == set()


@pytest.mark.slow
@pytest.mark.parametrize(("host", "sign"), [("", signal.SIGTERM), ("0.0.0.0", signal.SIGINT)])
def test_view_of_a_moved_run_listens_where_it_is_told_and_says_so(tmp_path, host, sign):
    scene = toy_scene(200, size=(24, 32))
    scene.save(tmp_path / "run" / "scene.safetensors")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    port = free_port()
    told = ("--host", host) if host else ()
    with Command(
        tmp_path / "log", "view", tmp_path / "elsewhere", "--port", port, *told
    ) as command:
        command.wait_for("Ctrl-C ends it")
        assert listening_addresses(port) == {host or "127.0.0.1"}
        warned = f"warning: listening on {host}: the viewer can be reached from other machines"
        assert (warned in command.said()) == bool(host)
        assert command.ends_on(sign) in (0, 143, -signal.SIGTERM)
        assert "Traceback" not in command.said()
    np.testing.assert_array_equal(sorted(p.name for p in tmp_path.iterdir()), ["elsewhere", "log"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scene.4dgs", "scene.fr4d"])
def test_view_of_a_file_to_share(tmp_path, name):
    write = write_open_4dgs if name.endswith(".4dgs") else write_fr4d
    write(toy_scene(200, size=(24, 32)), tmp_path / name)
    port = free_port()
    with Command(tmp_path / "log", "view", tmp_path / name, "--port", port) as command:
        command.wait_for("Ctrl-C ends it")
        assert listening_addresses(port) == {"127.0.0.1"}
        command.ends_on(signal.SIGINT)
        assert "Traceback" not in command.said() and "no grid folder" not in command.said()
