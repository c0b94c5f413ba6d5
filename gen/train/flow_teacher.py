"""Where in a clip's first frame its pixels were, by optical flow: what a copying head learns from.

A photometric loss alone pulls a displacement only as far as a few pixels; flow of the true frames
says where to.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from gen.network.copying import PIXELS, displaced

_ENLARGED = 4  # flow is found in frames of so many times the size
_SAME = 0.12  # of colours in [-1, 1]: what differs by more was not found


def first_frame_flow(clip_FHWC: Tensor) -> Tensor:
    """Of a clip in [-1, 1]: place in the first frame relative to the pixel's own, in pixels
    [F, H, W, 2] (x, y)."""
    h, w = clip_FHWC.shape[1:3]
    images = ((clip_FHWC.cpu().numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    size = w * _ENLARGED, h * _ENLARGED
    grey = [cv2.cvtColor(cv2.resize(i, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
            for i in images]  # fmt: skip
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = np.zeros((*grey[0].shape, 2), np.float32)
    flows = [np.zeros((h, w, 2), np.float32)]
    for image in grey[1:]:
        flow = search.calc(image, grey[0], flow.copy())
        flows.append(cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA) / _ENLARGED)
    return torch.from_numpy(np.stack(flows))


def flow_loss(by_BFHW2: Tensor, clean_BFHWC: Tensor, known_BF: Tensor) -> Tensor:
    """Distance of displacements from those of true clips, where flow found the same colours; clips
    whose first frame is not known count nothing."""
    flow = torch.stack([first_frame_flow(clip) for clip in clean_BFHWC]).to(by_BFHW2)
    seen = displaced(clean_BFHWC[:, 0], flow)
    found_BFHW = (seen - clean_BFHWC).abs().amax(-1) < _SAME
    found_BFHW = found_BFHW & (~known_BF & known_BF[:, :1])[:, :, None, None]
    if not bool(found_BFHW.any()):
        return by_BFHW2.sum() * 0
    return smooth_l1_loss(by_BFHW2[found_BFHW] / PIXELS, flow[found_BFHW] / PIXELS, beta=0.1)
