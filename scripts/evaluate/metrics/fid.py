"""FID: Frechet distance of Inception features between completed frames and the input frames.

The paper does not name its reference set; here it is the frames of the input videos, the nearest
thing to the distribution that the completed ones should have. The network is the one of
torch-fidelity, as torchmetrics uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.checkout import load_weights
from scripts.evaluate.metrics.bootstrap import MISSING, Estimate
from scripts.evaluate.metrics.frechet import frechet_estimate
from scripts.evaluate.metrics.images import bytes_N3HW
from scripts.evaluate.metrics.interface import (
    Column,
    InputPair,
    Metric,
    Needs,
    Record,
    References,
    Sample,
    arrays_of,
)

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
BATCH = 32


class FID(Metric):
    name = "fid"
    needs: ClassVar = Needs(
        "Inception-v3 weights: Apache-2.0",
        (WEIGHTS,),
        "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0",
        ("torchmetrics", "torch_fidelity"),
        "pip install -e '.[eval]'",
    )
    columns: ClassVar = (Column("fid", "FID", False),)

    def load(self) -> Any:
        from torchmetrics.image.fid import NoTrainInceptionV3

        load_weights(self.path(WEIGHTS))  # the package unpickles: refuse anything but tensors first
        net = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(self.path(WEIGHTS)))
        return net.to(self.device)

    @torch.no_grad()
    def _features(self, frames_NHWC: NDArray[np.float32]) -> NDArray[np.float32]:
        pictures = bytes_N3HW(frames_NHWC)
        parts = [
            self.network(pictures[i : i + BATCH].to(self.device))
            for i in range(0, len(pictures), BATCH)
        ]
        return torch.cat(parts).flatten(1).float().cpu().numpy()

    def measure(self, sample: Sample) -> Record:
        made = sample.frames[1:, 1:]
        return {"features": self._features(made.reshape(-1, *made.shape[2:]))}

    def measure_inputs(self, pair: InputPair) -> Record:
        # The first frame belongs to both videos.
        return {"features": self._features(np.concatenate([pair.row, pair.column[1:]]))}

    def summary(self, records: Sequence[Record], references: References) -> dict[str, Estimate]:
        inputs = arrays_of(references.inputs, "features")
        if not inputs:
            return {"fid": MISSING}
        return {"fid": frechet_estimate(arrays_of(records, "features"), np.concatenate(inputs))}
