"""Run folders, scenes and exports that cannot be used."""

from pathlib import Path

import yaml

from recon.ply import write_ply
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.grids import cut, void
from tests.viewer.toy_scene import toy_scene
from viewer.export.open_4dgs import write_open_4dgs
from viewer.page.html import write_player

TITLE = "Run folders, scenes and exports"
PROMPT = "prompt 'a red ball' --out run"


def foreign() -> None:
    Path("run").mkdir()
    Path("run/chapter1.tex").write_text("precious")


def record(text: str) -> None:
    Path("run").mkdir()
    Path("run/.lock").touch()
    Path("run/run.yaml").write_text(text)


def other_kind() -> None:
    record(yaml.safe_dump({"command": {"kind": "videos"}, "stages": {}}))


def scene() -> None:
    Path("run").mkdir()
    toy_scene().save("run/scene.safetensors")


def cut_scene() -> None:
    scene()
    cut("run/scene.safetensors")


def pickle_for_scene() -> None:
    Path("run").mkdir()
    Path("run/scene.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")


def cut_ply() -> None:
    scene_ = toy_scene()
    arrays = (scene_.means, scene_.log_scales, scene_.opacity_logits, scene_.colors)
    write_ply("a.ply", *(a.numpy() for a in arrays))
    cut("a.ply", 0.9)


def cut_player() -> None:
    write_player(toy_scene(), "a.html")
    page = Path("a.html").read_bytes()
    start = page.index(b">", page.index(b'<script id="payload"')) + 1
    Path("a.html").write_bytes(page[: start + 400] + page[page.index(b"</script>", start) :])


def cut_container() -> None:
    write_open_4dgs(toy_scene(), "a.4dgs")
    cut("a.4dgs")


CASES = [
    BadInput("the output is a file", PROMPT, r"is a file; choose another", lambda: void("run")),
    BadInput("the output folder holds other files", PROMPT, r"nothing was touched", foreign),
    BadInput("the folder is of another kind of run", PROMPT, r"is a run of 'videos'", other_kind),
    BadInput("run.yaml is no YAML", PROMPT, r"damaged", lambda: record("{[")),
    BadInput("run.yaml holds something else", PROMPT, r"damaged",
             lambda: record("stages: {grid: 7}")),
    BadInput("no run there", "view missing", r"no scene at missing"),
    BadInput("nothing to export", "export missing", r"no scene at missing"),
    BadInput("nothing to inspect", "inspect missing", r"no such file"),
    BadInput("a scene cut off", "export run", r"not a usable scene", cut_scene),
    BadInput("a pickle for a scene", "export run", r"not a usable scene", pickle_for_scene),
    BadInput("too many frames", "export run --frames 20000", r"--frames 20000", scene),
    BadInput("zip of something else", "export run --format html --zip", r"--zip goes with", scene),
    BadInput("a layout of something else", "export run --format html --layout full",
             r"--layout goes with --format ply-sequence", scene),
    BadInput("a ply cut off", "inspect a.ply", r"is cut off", cut_ply),
    BadInput("a player whose payload is cut off", "inspect a.html", r"damaged player", cut_player),
    BadInput("a container cut off", "export a.4dgs", r"a.4dgs: damaged .4dgs", cut_container),
    BadInput("a file that is no scene", "view a.4dgs", r"is no 4D scene", lambda: void("a.4dgs")),
    BadInput("one moment of a whole", "export run --format usd --time 0.5",
             r"--time goes with ply-sequence, glb, spz and sog", scene),
    BadInput("a moment out of range", "export run --format glb --time 2", r"--time 2: choose 0..1",
             scene),
    BadInput("a number of times that is none", "export run --format 4dgs --times some",
             r"--times some: choose all or 1", scene),
    BadInput("a USD file of another suffix", "export run --format usd --out a.obj",
             r"a.obj: name a .usd", scene),
    BadInput("a video without a suffix", "export run --format video --out a",
             r"a: name a .mp4", scene),
    BadInput("a page that is no player", "inspect a.html", r"not a player page",
             lambda: void("a.html")),
    BadInput("the sequence's folder holds other files", "export run --out precious", r"precious",
             lambda: (scene(), Path("precious").mkdir(), void("precious/a.txt"))[0]),
]  # fmt: skip
