"""GIM confidence: the share of pixels that a dense matcher finds again in the neighbouring view.

The paper names GIM and the thresholds 0.1, 0.5 and 0.7, not the matcher; GIM's dense one is DKM,
whose certainty is a number a pixel. Neighbouring views of every completed freeze-time video are
matched both ways. Code and weights are a user's checkout of GIM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from fourreal.checkout import fill_model, load_module, load_weights
from scripts.evaluate.metrics.bootstrap import Estimate, mean_of
from scripts.evaluate.metrics.images import floats_N3HW
from scripts.evaluate.metrics.interface import (
    Column,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    values_of,
)

CHECKOUT, WEIGHTS = "gim", "gim_dkm_100h.ckpt"
SIZE = (672, 896)  # height and width that GIM's demo runs DKM at
THRESHOLDS = (0.1, 0.5, 0.7)


def share_above(confidence: Sequence[np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Percent of all values above each threshold."""
    every = np.concatenate([np.ravel(c) for c in confidence])
    return np.array([100 * float((every > t).mean()) for t in thresholds])


def checkpoint_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """GIM's checkpoint as DKM's own names: without the wrapper and the unused classifier."""
    state = state.get("state_dict", state)
    names = {key: key.removeprefix("model.") for key in state}
    return {names[k]: v for k, v in state.items() if "encoder.net.fc" not in names[k]}


class GimConfidence(Metric):
    name = "gim"
    needs: ClassVar = Needs(
        "code MIT; weights for research only",
        (CHECKOUT, WEIGHTS),
        "https://github.com/xuelunshen/gim (a clone as gim/, and its gim_dkm_100h.ckpt)",
        ("torchvision", "einops"),
        "pip install -e '.[eval]'",
    )
    columns: ClassVar = tuple(
        Column(f"gim_{t:g}".replace(".", "_"), f"GIM > {t:g}, %", True) for t in THRESHOLDS
    )

    def load(self) -> Any:
        module = load_module(
            self.path(CHECKOUT), ("networks",), "networks.dkm.models.model_zoo.DKMv3"
        )
        model = module.DKMv3(weights=None, h=SIZE[0], w=SIZE[1])
        path = self.path(WEIGHTS)
        fill_model(model, checkpoint_tensors(load_weights(path)), path)
        return model.eval().to(self.device)

    @torch.no_grad()
    def measure(self, sample: Sample) -> Record:
        found = []
        for column in sample.columns:
            pictures = floats_N3HW(column).to(self.device)
            for a, b in zip(pictures[:-1], pictures[1:], strict=True):
                _, certainty = self.network.match(a[None], b[None])
                found.append(certainty.float().cpu().numpy())
        return {"share": share_above(found, THRESHOLDS)}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        return share_summary(records, self.columns)


def share_summary(records: Sequence[Record], columns: Sequence[Column]) -> dict[str, Estimate]:
    """Mean over grids of each entry of the records' `share`."""
    each = [{c.key: r["share"][i] for i, c in enumerate(columns)} for r in records if r]
    return {c.key: mean_of(values_of(each, c.key)) for c in columns}
