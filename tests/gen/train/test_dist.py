"""Two gloo processes take the steps that one process takes on the joined batch, and resume alike.

What the two processes do is done in one go (starting them is what takes long); the tests look at
what they left behind.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from gen import dist
from gen.data.batches import PoolConfig, seeded
from gen.data.world.captions import VOCABULARY
from gen.network.base import BaseModel, save_base
from gen.network.params import SIZES
from gen.train.options import GridMix, Train4DConfig, TrainBaseConfig, TrainOptions
from gen.train.run import Stage, backward, pieces, read_ahead, wrap
from scripts.train_4d import GridStage
from scripts.train_4d import main as train_4d
from scripts.train_base import BaseStage
from scripts.train_base import main as train_base

pytestmark = pytest.mark.slow

POOL = PoolConfig(chunk=4, keep=2, start=1, steps_per_chunk=2, world="narrow")


def base_options(folder: Path, **changes) -> TrainBaseConfig:
    settings = dict(
        out=folder, size="debug", batch=4, frames=3, picture_every=2, picture_batch=4, warmup=1,
        optimiser="muon", decay=0.0, sample_every=100, steps=1, pool=POOL,
    )  # fmt: skip
    return TrainBaseConfig(**(settings | changes))


def options_4d(folder: Path, **changes) -> Train4DConfig:
    settings = dict(
        out=folder, base=folder.parent / "weights", rank=4, batch=4, views=3, times=2, warmup=1,
        decay=0.0, sample_every=100, steps=1, pool=PoolConfig(2, 2, 1, 2, "narrow"),
    )  # fmt: skip
    return Train4DConfig(**(settings | changes))


Case = tuple[Callable[[TrainOptions, torch.device], Stage], TrainOptions]


def cases(folder: Path) -> dict[str, Case]:
    """Stages whose first step is compared between one process and two."""
    mixed = GridMix(procedural=1, pseudo4d=1)
    base, sync = folder / "base", folder / "sync"
    return {
        "base": (BaseStage, base_options(base, picture_every=0)),
        "base-pieces": (BaseStage, base_options(base, picture_every=0, micro_batch=1)),
        "pictures-sharded": (BaseStage, base_options(base, shard=True)),
        "sync": (GridStage, options_4d(sync, layers=(1,), mix=mixed)),
        "all-sharded": (GridStage, options_4d(sync, train="all", shard=True)),
        "all-sharded-pieces": (GridStage, options_4d(sync, train="all", shard=True, micro_batch=1)),
    }  # type: ignore[dict-item]


def first_step(case: Case) -> dict[str, torch.Tensor]:
    """Loss and gradients of step 0, from weights that let gradients through everywhere."""
    kind, cfg = case
    cfg.out.mkdir(exist_ok=True)
    stage = kind(cfg, torch.device("cpu"))
    with torch.no_grad():
        for i, p in enumerate(stage.module.parameters()):
            p.add_(torch.randn(p.shape, generator=seeded(1, i)) * 0.05)
    model = wrap(stage, cfg)
    parts = pieces(stage, cfg, 0)
    batches = read_ahead(stage, ((0, part) for part in parts), cfg.readers)
    loss = dist.mean_over_ranks(backward(stage, model, batches, parts, 0))
    grads = {k: p.grad for k, p in stage.module.named_parameters() if p.requires_grad}
    return dist.full({"loss": loss, **grads})


def runs(folder: Path, ports: Iterator[int]) -> None:
    """Whole trainings, straight and interrupted, whole and sharded."""
    for out, steps in (("resumed", 1), ("resumed", 3), ("straight", 3)):
        for name, changes in (("whole", {}), ("sharded", {"shard": True, "readers": 1})):
            os.environ["MASTER_PORT"] = str(next(ports))
            train_base(base_options(folder / f"{name}-{out}", steps=steps, **changes))
        os.environ["MASTER_PORT"] = str(next(ports))
        train_4d(options_4d(folder / f"all-{out}", steps=steps, train="all", shard=True))


def steps(folder: Path, ports: Iterator[int]) -> None:
    """The first step of every case."""
    os.environ["MASTER_PORT"] = str(next(ports))
    dist.setup()
    for name, case in cases(folder).items():
        step = first_step(case)
        if dist.rank() == 0:
            torch.save(step, folder / f"{name}.pt")
    with pytest.raises(ValueError, match="2 processes"):
        dist.share(3)
    dist.cleanup()


def process(
    rank: int,
    works: tuple[Callable[[Path, Iterator[int]], None], ...],
    folder: Path,
    ports: list[int],
) -> None:
    """What each of the two processes does; every process group has a port of its own."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    left = iter(ports)
    for work in works:
        work(folder, left)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes left behind."""
    folder = tmp_path_factory.mktemp("two")
    torch.manual_seed(0)
    save_base(BaseModel(SIZES["debug"], VOCABULARY), folder / "weights", {})
    arguments = ((steps, runs), folder, free_ports(10))
    torch.multiprocessing.start_processes(process, arguments, 2, start_method="spawn")
    return folder


@pytest.mark.parametrize("name", list(cases(Path("."))))
def test_two_processes_take_the_step_of_one(folder, name):
    two = torch.load(folder / f"{name}.pt", weights_only=True)
    one = first_step(cases(folder)[name])
    assert one.keys() == two.keys()
    assert two["loss"] == pytest.approx(float(one["loss"]), rel=1e-5)
    silent = 0
    for key, grad in one.items():
        if grad is None:
            assert two[key] is None
            continue
        silent += not grad.any()
        assert torch.allclose(two[key], grad, rtol=1e-4, atol=1e-5), key
    assert silent < len(one) / 10


def model_of(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    return state["model"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "sharded", "all"])
def test_two_processes_resume_exactly(folder, name):
    resumed, straight = (model_of(folder / f"{name}-{x}") for x in ("resumed", "straight"))
    assert all(torch.equal(resumed[k], straight[k]) for k in straight)
    assert list((folder / f"{name}-straight" / "weights").glob("base-*.safetensors"))


@pytest.mark.slow
def test_sharded_training_is_training(folder, tmp_path):
    """Three steps of two sharded processes, of two whole ones and of one end at the same place,
    and one process continues what two sharded ones began."""
    whole, sharded = (model_of(folder / f"{x}-straight") for x in ("whole", "sharded"))
    train_base(base_options(tmp_path, steps=3))
    alone = model_of(tmp_path)
    for key, value in alone.items():
        assert torch.allclose(whole[key], value, atol=1e-4), key
        assert torch.allclose(sharded[key], value, atol=1e-4), key
    train_base(base_options(folder / "sharded-resumed", steps=4))
    state = torch.load(folder / "sharded-resumed" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 4
