"""Training over a tiny Wan: only the adapter changes, and two processes do what one does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from fourreal.errors import UserError
from gen import dist
from gen.data.batches import PoolConfig
from gen.train.options import Train4DConfig, WanTraining
from gen.wan.adapter_file import build_two_stream, read_adapter
from gen.wan.folder import WanFolder
from gen.wan.train_stage import WanStage
from scripts.train_4d import main as train_4d
from tests.gen.train.test_dist import first_step, free_ports, process
from tests.gen.wan.tiny import lattice, save_folder

CPU = torch.device("cpu")


def options(out: Path, weights: Path, **changes) -> Train4DConfig:
    settings = dict(
        base=Path("wan"), resolution="16x32", rank=4, batch=2, views=2, times=5, warmup=1,
        decay=0.0, sample_every=100, steps=1, pool=PoolConfig(2, 2, 1, 2, "narrow"),
        wan=WanTraining(lora_rank=2),
    )  # fmt: skip
    return Train4DConfig(out=out, weights=weights, **(settings | changes))


def test_a_run_resumes_and_leaves_an_adapter(folder, tmp_path):
    train_4d(options(tmp_path / "a", folder, steps=1, lr=0.05))
    train_4d(options(tmp_path / "a", folder, steps=2, lr=0.05))
    train_4d(options(tmp_path / "b", folder, steps=2, lr=0.05))
    states = [
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)["model"] for run in "ab"
    ]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[1])
    assert list((tmp_path / "a" / "samples").glob("*.png"))
    config, state = read_adapter(tmp_path / "a" / "weights" / "adapter.safetensors")
    assert config.how_made["step"] == 2 and config.lora_rank == 2 and config.time_stride == 4
    model = WanFolder(folder).transformer(torch.float32, config.lora_rank)
    trained = build_two_stream(model, config, state)
    untrained = build_two_stream(WanFolder(folder).transformer(torch.float32, 2), config)
    with torch.no_grad():
        assert (trained(*lattice()) - untrained(*lattice())).abs().max() > 1e-3


@pytest.mark.parametrize("stride", [4, 1])
def test_the_loss_falls_and_the_base_stays(folder, tmp_path, stride):
    wan = WanTraining(lora_rank=2, time_stride=stride)
    cfg = options(tmp_path, folder, wan=wan, times=3, text_drop=0.0, gradient_checkpointing=True)
    stage = WanStage(cfg, CPU)
    before = {k: p.detach().clone() for k, p in stage.module.named_parameters()}
    batch = stage.draw(0, range(2))
    adapter = stage.module.adapter_parameters()
    optimiser = torch.optim.AdamW(adapter.values(), lr=0.02)
    losses = []
    for _ in range(15):
        loss = stage.loss(stage.module, batch, 0)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    changed = {k for k, p in stage.module.named_parameters() if not torch.equal(p, before[k])}
    assert changed == adapter.keys()


def test_bf16_trains(folder, tmp_path):
    stage = WanStage(options(tmp_path, folder, precision="bf16"), CPU)
    loss = stage.loss(stage.module, stage.draw(0, range(1)), 0)
    loss.backward()
    adapter = stage.module.adapter_parameters()
    assert loss.isfinite() and all(p.dtype == torch.float32 for p in adapter.values())
    assert stage.module.model.dtype == torch.bfloat16
    assert any(p.grad is not None and p.grad.any() for p in adapter.values())


def test_options_that_cannot_be_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="only the adapter"):
        options(tmp_path, folder, train="all")
    with pytest.raises(ValueError, match="--base wan"):
        options(tmp_path, folder, base=Path("weights"))
    with pytest.raises(UserError, match="multiples of 16"):
        WanStage(options(tmp_path, folder, resolution="20x32"), CPU)
    with pytest.raises(UserError, match="hf download"):
        WanStage(options(tmp_path, None), CPU)


def cases(folder: Path) -> dict:
    def of(**changes):
        return WanStage, options(folder / "run", folder / "wan", text_drop=0.0, **changes)

    return {
        "whole": of(),
        "sharded": of(shard=True, gradient_checkpointing=True),
        "sharded-bf16": of(shard=True, precision="bf16"),
    }


def steps(folder: Path, ports: Iterator[int]) -> None:
    """The first step of every case."""
    os.environ["MASTER_PORT"] = str(next(ports))
    dist.setup()
    for name, case in cases(folder).items():
        step = first_step(case)
        if dist.rank() == 0:
            torch.save(step, folder / f"{name}.pt")
    dist.cleanup()


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path):
    (tmp_path / "wan").mkdir()
    save_folder(tmp_path / "wan")
    arguments = ((steps,), tmp_path, free_ports(1))
    torch.multiprocessing.start_processes(process, arguments, 2, start_method="spawn")
    one = first_step(cases(tmp_path)["whole"])
    for name in ("whole", "sharded"):
        two = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert one.keys() == two.keys() and len(one) > 10
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5, msg=key)
    rounded = torch.load(tmp_path / "sharded-bf16.pt", weights_only=True)
    assert rounded["loss"] == pytest.approx(float(one["loss"]), rel=0.05)
