"""Many scenes at once: the commands of a list, run on Ray on this machine or on a cluster.

    python scripts/batch.py prompts.txt --out outputs/many --cores 2
    python scripts/batch.py scenes.yaml --address 10.0.0.5:6379 --gpus 1 --common="--preset gpu"

An item (prompt, videos, grid or render; see pipeline/batch_list.py) is one process with its share
of cores or GPUs and its own log. A failed item stops no other; one whose machine dies is started
again elsewhere and goes on after its last finished stage. The same command later runs what is
missing. All machines need the same folders. docs/BATCH.md says more.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from fourreal.atomic import atomic_file
from fourreal.console import progress, say, warn
from fourreal.errors import UserError
from fourreal.read_text import read_json
from fourreal.script import run_script
from fourreal.stage_key import content_hash
from pipeline.batch_list import Item, read_items

REPOSITORY = Path(__file__).resolve().parents[1]
RECORD = "batch.json"
IN_USE = "in use by another run"
PATIENCE = 120.0  # seconds that a folder may stay locked by a run whose machine is just dying


@dataclass
class Options:
    list: Positional[Path]
    """Text (one prompt or command a line), .yaml or .jsonl."""
    out: Path = Path("outputs/batch")
    """Folder of the runs, their logs and batch.json."""
    address: str = ""
    """Address of a running Ray cluster (host:port, or auto); by default this machine alone."""
    cores: float = 1.0
    """CPU cores of an item; below 1 several items share one."""
    gpus: float = 0.0
    """GPUs of an item; 0.5: two items share one."""
    retries: int = 2
    """How often an item is started again when its machine dies."""
    common: str = ""
    """Options of every item that makes a scene, after an equals sign: --common="--seed 3"."""

    def __post_init__(self) -> None:
        if not (self.cores > 0 and self.gpus >= 0 and self.retries >= 0):
            raise UserError("--cores must be positive, --gpus and --retries not negative")


def run_item(item: Item, log: str, cwd: str, cores: float) -> dict[str, Any]:
    """Run one item where Ray put it; how it ended."""
    threads = str(max(1, int(cores)))
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    start, said, node = time.monotonic(), "", _node()
    command = [sys.executable, "-m", "run_pipeline", *item.argv]
    while True:
        with open(log, "ab", buffering=0) as stream:
            stream.write(f"worker {os.getpid()} on {node}: {' '.join(item.argv)}\n".encode())
            begin = stream.tell()
            code = subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=_die_with_parent,
            ).returncode
        said = _last_line(Path(log), begin)
        if code != 2 or IN_USE not in said or time.monotonic() - start > PATIENCE:
            seconds = round(time.monotonic() - start, 1)
            return {"code": code, "seconds": seconds, "said": said, "node": node}
        time.sleep(2)


def _node() -> str:
    """Ray's name of the machine that this runs on."""
    import ray

    return ray.get_runtime_context().get_node_id()


def _die_with_parent() -> None:
    """In the child: be killed when the worker dies, so that its folder is free for the next."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _last_line(log: Path, begin: int) -> str:
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read()[-4000:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Record:
    """``batch.json``: what became of every item."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                items = read_json(path)["items"]
                self.items = {str(n): dict(entry) for n, entry in items.items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{path} is damaged; delete it to look at every item again"
                ) from None

    def is_done(self, item: Item, key: str) -> bool:
        """Whether the item was finished with the same command and inputs."""
        entry = self.items.get(item.name, {})
        there = Path(item.argv[item.argv.index("--out") + 1]).exists()
        return entry.get("state") == "done" and entry.get("key") == key and there

    def add(self, item: Item, key: str, ended: dict[str, Any]) -> None:
        """Note how an item ended, on disk at once."""
        state = "done" if ended["code"] == 0 else "failed"
        self.items[item.name] = {"state": state, "key": key, "argv": list(item.argv), **ended}
        with atomic_file(self.path) as temporary:
            temporary.write_text(json.dumps({"items": self.items}, indent=1) + "\n")


def item_key(item: Item) -> str:
    """Hash of the command and of the files it names."""
    target = item.argv.index("--out") + 1
    words = [w for k, w in enumerate(item.argv) if k != target]
    return content_hash(words, *(Path(w) for w in words if len(w) < 256 and Path(w).exists()))


def start_ray(options: Options) -> Any:
    """Ray, connected; UserError when it is missing, cannot be reached or is too small."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not options.address or options.address.startswith("127."):
        # Ray's word for: listen on 127.0.0.1, not on the network card, whatever the system
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed; pip install -e '.[ray]'") from None
    where: dict[str, Any] = {"address": options.address or "local"}
    if not options.address:
        where["include_dashboard"] = False
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"no Ray cluster at {options.address or 'this machine'}: {reason}"
        ) from None
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if not any(n.get("CPU", 0) >= options.cores and n.get("GPU", 0) >= options.gpus for n in nodes):
        ray.shutdown()
        raise UserError(
            f"no machine has {options.cores:g} cores and {options.gpus:g} GPUs for an item; lower "
            "--cores or --gpus"
        )
    return ray


def main(options: Options) -> None:
    """Run what is not finished and report; UserError when items failed."""
    options.out.mkdir(parents=True, exist_ok=True)
    items = read_items(options.list, options.out.resolve(), options.common)
    record = Record(options.out / RECORD)
    keys = {item.name: item_key(item) for item in items}
    todo = [item for item in items if not record.is_done(item, keys[item.name])]
    say(f"{len(items)} items, {len(items) - len(todo)} finished before")
    if todo:
        ray = start_ray(options)
        try:
            run_all(ray, options, todo, record, keys)
        finally:
            ray.shutdown()
    failed = [item for item in items if record.items[item.name]["state"] != "done"]
    for item in failed:
        warn(f"{item.name} failed: {record.items[item.name]['said']}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(items)} items failed; see {options.out}/NAME.log; the same "
            "command tries them again"
        )
    say(f"all done: {options.out}")


def run_all(
    ray: Any, options: Options, todo: list[Item], record: Record, keys: dict[str, str]
) -> None:
    """Hand the items to Ray and note each as it ends."""
    task = ray.remote(run_item).options(
        num_cpus=options.cores, num_gpus=options.gpus, max_retries=options.retries
    )
    cwd, out = str(Path.cwd()), options.out.resolve()
    waiting = {
        task.remote(item, str(out / f"{item.name}.log"), cwd, options.cores): item for item in todo
    }
    bar = progress(description="items", total=len(todo))
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        item = waiting.pop(ready)
        try:
            ended = ray.get(ready)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().split("\n")[0][:200]
            ended = {"code": -1, "seconds": 0.0, "said": f"its worker died ({reason})"}
        record.add(item, keys[item.name], ended)
        if ended["code"] == 0:
            say(f"[{item.name}] done in {ended['seconds']:.0f} s")
        else:
            say(f"[{item.name}] FAILED: {ended['said']}")
        bar.update(1)
    bar.close()


if __name__ == "__main__":
    sys.exit(run_script(main, Options, __doc__))
