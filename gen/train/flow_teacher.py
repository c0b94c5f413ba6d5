"""Where in a clip's first frame its pixels were, by optical flow: what a copying head learns from.

A photometric loss alone pulls a displacement only as far as a few pixels; flow of the true frames
says where to.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from fourreal.video_io import to_uint8
from gen.completion.flow import straight_to_first
from gen.network.copying import PIXELS, displaced

_SAME = 0.12  # of colours in [-1, 1]: what differs by more was not found


def flow_loss(by_BFHW2: Tensor, clean_BFHWC: Tensor, known_BF: Tensor) -> Tensor:
    """Distance of displacements from those of true clips, where flow found the same colours; clips
    whose first frame is not known count nothing."""
    clips = to_uint8((clean_BFHWC.cpu().numpy() + 1) / 2)
    flow = torch.stack([straight_to_first(clip) for clip in clips]).to(by_BFHW2)
    seen = displaced(clean_BFHWC[:, 0], flow)
    found_BFHW = (seen - clean_BFHWC).abs().amax(-1) < _SAME
    found_BFHW = found_BFHW & (~known_BF & known_BF[:, :1])[:, :, None, None]
    if not bool(found_BFHW.any()):
        return by_BFHW2.sum() * 0
    return smooth_l1_loss(by_BFHW2[found_BFHW] / PIXELS, flow[found_BFHW] / PIXELS, beta=0.1)
