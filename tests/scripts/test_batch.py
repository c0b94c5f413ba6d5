"""Lists of commands, and running them on Ray: a real local cluster, one machine of which dies."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fourreal.errors import UserError
from gen.data.world.grid import make_grid
from pipeline.batch_list import Item, read_items
from scripts.batch import Options, Record, item_key, main
from tests.shared_data import REPOSITORY

OUT = Path("/out")


def listed(tmp_path, suffix, text, common=""):
    (tmp_path / f"list{suffix}").write_text(text)
    return read_items(tmp_path / f"list{suffix}", OUT, common)


def test_lines_are_commands_or_prompts(tmp_path):
    items = listed(tmp_path, ".txt", "# two\nA red ball!\n\ngrid 'my grid.npz' --size 36x64\n")
    assert items == [
        Item("a-red-ball", ("prompt", "A red ball!", "--out", "/out/a-red-ball")),
        Item("my-grid-npz-36x64",
             ("grid", "my grid.npz", "--size", "36x64", "--out", "/out/my-grid-npz-36x64")),
    ]  # fmt: skip


def test_mappings_name_options(tmp_path):
    text = """
- {prompt: a red ball, views: 4, untrained_sync: true, name: ball}
- {command: videos, fixed_view: a.mp4, freeze_time: b.mp4, force_pair: false, name: pair}
- {command: render, run: outputs/ball, path: spiral, frames: 9, name: film}
"""
    ball, pair, film = listed(tmp_path, ".yaml", text, common="--preset debug")
    assert " ".join(ball.argv) == (
        "prompt a red ball --views 4 --untrained-sync --preset debug --out /out/ball"
    )
    assert "--no-force-pair" in pair.argv and pair.argv[-1] == "/out/pair"
    assert " ".join(film.argv) == (
        "export outputs/ball --path spiral --frames 9 --format video --out /out/film.mp4"
    )
    lines = '{"prompt": "a red ball"}\n{"prompt": "a red ball", "seed": 1}\n'
    names = [item.name for item in listed(tmp_path, ".jsonl", lines)]
    assert names[0] == "a-red-ball" and len(set(names)) == 2


@pytest.mark.parametrize(
    ("suffix", "text", "says"),
    [
        (".txt", "# nothing\n", "holds no command"),
        (".yaml", "prompt: a red ball", "a list is expected"),
        (".yaml", "- {command: rm, path: /}", "command 'rm'"),
        (".yaml", "- {command: grid}", "'path' is missing"),
        (".yaml", "- {prompt: a ball, name: ../x}", "letters, digits"),
        (".yaml", "- {prompt: a ball, views: [1]}", "'views' must be"),
        (".yaml", "- !!python/object/apply:os.system ['true']", "not valid YAML"),
        (".jsonl", "{", "not valid JSON"),
    ],
)
def test_bad_lists_are_named(tmp_path, suffix, text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        listed(tmp_path, suffix, text)


def test_what_is_done_is_known_by_command_and_inputs(tmp_path):
    grid, out = tmp_path / "g.npz", tmp_path / "out"
    grid.write_bytes(b"1")
    out.mkdir()
    item = Item("g", ("grid", str(grid), "--out", str(out)))
    record = Record(tmp_path / "batch.json")
    record.add(item, item_key(item), {"code": 0, "seconds": 1.0, "said": ""})
    again = Record(tmp_path / "batch.json")
    assert again.is_done(item, item_key(item))
    grid.write_bytes(b"2")
    assert not again.is_done(item, item_key(item))
    (tmp_path / "batch.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        Record(tmp_path / "batch.json")


def test_without_ray_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "list.txt").write_text("a red ball\n")
    with pytest.raises(UserError, match=r"pip install -e '\.\[ray\]'"):
        main(Options(tmp_path / "list.txt", tmp_path / "out"))


@pytest.fixture(scope="module")
def cluster():
    """A head without work and two machines of one core each, all on 127.0.0.1."""
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("FOURREAL_LANE") == "ray":
            pytest.fail("this lane needs Ray")
        pytest.skip("Ray is not installed (pip install -e '.[ray]')")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # on a busy machine everything takes long to come up
    os.environ["RAY_raylet_start_wait_time_s"] = "400"
    os.environ["RAY_agent_register_timeout_ms"] = "400000"
    os.environ["RAY_worker_register_timeout_seconds"] = "400"
    from ray.cluster_utils import Cluster

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # see scripts/batch.py
    small = {"object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    made = Cluster(initialize_head=True, head_node_args=head)
    workers = [made.add_node(num_cpus=1, **small) for _ in range(2)]
    yield made, workers
    made.shutdown()


def batch(folder, address):
    command = [sys.executable, str(REPOSITORY / "scripts/batch.py"), "list.yaml", "--out", "many",
               "--address", address, "--common=--preset debug --seed 3"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_cluster_finishes_although_a_machine_dies(cluster, tmp_path):
    made, workers = cluster
    grid, _, _ = make_grid(seed=5, V=3, T=2, size=(32, 48))
    frames = (np.clip(grid.frames, 0, 1) * 255).astype(np.uint8)
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", rgb=frames)
    entries = [f"- {{command: grid, path: {n}.npz, name: {n}}}" for n in ("a", "b", "c", "bad")]
    (tmp_path / "list.yaml").write_text("\n".join(entries))
    process = batch(tmp_path, made.address)
    killed = kill_when_tracking(made, workers, process, tmp_path / "many")
    out, error = process.communicate(timeout=550)
    assert process.returncode == 2, (out, error)
    assert "1 of 4 items failed" in error and "no such file or folder: bad.npz" in error
    record = json.loads((tmp_path / "many/batch.json").read_text())["items"]
    assert {n: e["state"] for n, e in record.items()} == {
        "a": "done", "b": "done", "c": "done", "bad": "failed",
    }  # fmt: skip
    log = (tmp_path / "many" / f"{killed}.log").read_text()
    assert log.count("worker ") >= 2, "the item of the dead machine was started again"
    scenes = [(tmp_path / "many" / n / "scene.safetensors").read_bytes() for n in "abc"]
    assert scenes[0] == scenes[1] == scenes[2]

    second = batch(tmp_path, made.address)
    out, error = second.communicate(timeout=300)
    assert second.returncode == 2 and "4 items, 3 finished before" in out


def kill_when_tracking(made, workers, process, folder):
    """Wait for an item to be in its second stage, then kill -9 its machine; the item's name."""
    until = time.monotonic() + 400
    while time.monotonic() < until and process.poll() is None:
        for log in folder.glob("[abc].log"):
            text = log.read_text()
            found = re.search(r"^worker (\d+) on (\S+):", text, re.MULTILINE)
            if found and "[tracks] dense" in text and "[scene] done" not in text:
                node = next(w for w in workers if w.node_id == found[2])
                made.remove_node(node, allow_graceful=False)
                return log.stem
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no item got so far: {process.communicate()}")
