"""How much memory the two-stream model takes for one window, and how many clips fit into a bound.

The figures are estimates from the sizes of what is alive at once, made to lie above what a forward
pass without gradients takes (a test measures it). Weights are counted; the grid that grows window
by window is not, since it is kept apart from what the network works on.

A value of a token is 4 bytes in float32, 2 in bfloat16; pixels are always float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from fourreal.console import warn
from fourreal.errors import UserError
from gen.network.params import DiTParams
from gen.sync.names import MixerName

# Token grids alive beside a running block: what the streams were embedded as, what they are, what
# they become. Pixel grids: the sampler's x, its given cells, both heads' predictions and sums.
TOKEN_GRIDS = 6
PIXEL_GRIDS = 9
GB = 1e9


@dataclass(frozen=True)
class Work:
    """What one forward pass works on: a window of `views` x `times` frames."""

    params: DiTParams
    views: int
    times: int
    height: int
    width: int
    value_bytes: int = 4

    @property
    def tokens(self) -> int:
        """Tokens of a frame."""
        return (self.height // self.params.patch) * (self.width // self.params.patch)


def clip_bytes(work: Work) -> int:
    """Bytes that a clip takes while it goes through the embedding, a block or the head."""
    p = work.params
    tokens = max(work.views, work.times) * work.tokens
    block = (3 * p.mlp_hidden + 6 * p.width) * work.value_bytes
    pixels = (3 * p.patch**2 * (4 + p.extra_channels) + 3 * p.width) * 4
    return tokens * max(block, pixels)


def resident_bytes(work: Work, parameters: int) -> int:
    """Bytes that stay for the whole pass: the weights, the streams' tokens, the window's pixels."""
    cells = work.views * work.times
    tokens = TOKEN_GRIDS * cells * work.tokens * work.params.width * work.value_bytes
    pixels = (PIXEL_GRIDS * 3 + work.params.extra_channels) * cells * work.height * work.width * 4
    return tokens + pixels + parameters * work.value_bytes


def fused_bytes(work: Work, parameters: int) -> int:
    """Bytes of a pass in which every token attends to its row and column (mixer `fused`): the whole
    window is one clip, and each cell has a copy of the keys and values it sees."""
    cells = work.views * work.times
    block = cells * clip_bytes(work) // max(work.views, work.times)
    copies = 3 * (work.views + work.times - 1)  # keys, values, and what a kernel makes of them
    seen = copies * cells * work.tokens * work.params.width * work.value_bytes
    return resident_bytes(work, parameters) + block + seen


def clips_at_once(
    work: Work, parameters: int, mixer: MixerName, max_memory_gb: float | None
) -> int | None:
    """How many clips of a stream may go through the network together; None: all of them.

    A bound that not even one clip fits into is said in one line, and one clip is used.  Raises
    UserError when the mixer cannot be split (`fused`) and the bound is too small for it.
    """
    if max_memory_gb is None:
        return None
    bound = max_memory_gb * GB
    if mixer == "fused":
        needed = fused_bytes(work, parameters)
        if needed > bound:
            raise UserError(
                f"--max-memory {max_memory_gb:g} GB: the fused mixer attends to the whole window "
                f"at once and needs about {needed / GB:.1f} GB; allow that, or use another mixer"
            )
        return None
    resident, clip = resident_bytes(work, parameters), clip_bytes(work)
    if resident + clip > bound:
        warn(
            f"--max-memory {max_memory_gb:g} GB is below the {(resident + clip) / GB:.2f} GB that "
            "a window needs clip by clip; going on with one clip at a time"
        )
    count = max(1, int((bound - resident) // clip))
    return None if count >= max(work.views, work.times) else count
