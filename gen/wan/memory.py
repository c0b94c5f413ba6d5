"""How much memory the 4D model over Wan takes, part by part, and what to do when that is too much.

The parts run one after another: text encoder, transformer, autoencoder. Estimates come from the
sizes of what is alive at once and are made to lie above what is measured (a test does that on the
tiny model); what a kernel takes for itself besides is not known here, hence `HEADROOM`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fourreal.console import warn
from fourreal.errors import UserError
from gen.limits import GB
from gen.sync.mixers import MIXER_CLASSES, SIGMA_FEATURES
from gen.sync.names import MixerName
from gen.wan.block import ADAPTED
from gen.wan.lattice import TimeStride, latent_times
from gen.wan.params import (
    MODELS,
    TEXT_TOKENS,
    TIME_STRIDE,
    VaeParams,
    WanModelCard,
    WanParams,
)

# Token lattices alive beside a running block: what the streams started from, are, and become.
TOKEN_LATTICES = 6
# Copies of the widest feature map of the autoencoder alive at once, with the frames that its
# causal convolutions remember.
VAE_MAPS = 14
TILE = 256  # pixels of a side, when the autoencoder works tile by tile
HEADROOM = 1.1


@dataclass(frozen=True)
class WanWork:
    """What is generated: a window of `views` x `times` frames (times: of a row, not latents)."""

    params: WanParams
    vae: VaeParams
    transformer: float  # parameters of the three parts
    autoencoder: float
    text: float
    views: int
    times: int
    height: int
    width: int
    time_stride: TimeStride = TIME_STRIDE
    mixer: MixerName = "soft"
    rank: int | None = 64
    lora_rank: int = 0
    value_bytes: int = 2

    @classmethod
    def of(cls, model: WanModelCard, views: int, times: int, height: int, width: int) -> WanWork:
        """A published model's."""
        return cls(
            model.params, model.vae, model.transformer_millions * 1e6, model.vae_millions * 1e6,
            model.text_millions * 1e6, views, times, height, width,
        )  # fmt: skip

    @property
    def latents(self) -> int:
        """Latent times of a row."""
        return latent_times(self.times, self.time_stride)

    @property
    def tokens(self) -> int:
        """Tokens of a latent."""
        return self.params.tokens(self.height // self.vae.space, self.width // self.vae.space)

    def adapter_parameters(self) -> int:
        """Of the mixer and of the low-rank matrices."""
        d, p = self.params.width, self.params
        matrix = 2 * d * d if self.rank is None else 3 * d * self.rank + 2 * d
        matrices = MIXER_CLASSES[self.mixer].matrices
        mixer = matrices * (matrix + SIGMA_FEATURES * d)
        return p.depth * (mixer + len(ADAPTED) * 2 * d * self.lora_rank)


def block_bytes(work: WanWork, clips: int | None) -> int:
    """Bytes of so many clips of a stream (None: all) going through a block (or the head)."""
    p, cells = work.params, work.views * work.latents
    tokens = work.tokens * min(cells, (clips or cells) * max(work.views, work.latents))
    norms = 5 * p.width * 4  # a block's norms and residuals are in float32
    attention = 8 * p.width * 4  # queries and keys are turned in float32
    feed_forward = 2 * p.hidden * work.value_bytes + p.width * 4
    return tokens * (norms + max(attention, feed_forward))


def resident_bytes(work: WanWork) -> int:
    """Bytes beside weights that stay while the transformer runs: tokens, latents, words."""
    d, cells = work.params.width, work.views * work.latents
    tokens = TOKEN_LATTICES * cells * work.tokens * d * work.value_bytes
    pixels = work.params.channels * work.params.patch**2 * work.tokens
    latents = 8 * cells * pixels * 4
    levels = 3 * cells * 7 * d * 4
    words = (work.views + work.latents + 2) * TEXT_TOKENS * d * work.value_bytes
    return tokens + latents + levels + words


def fused_bytes(work: WanWork) -> int:
    """Bytes of a block of the mixer `fused`: the window is one clip, and each latent has a copy of
    the keys and values that it sees."""
    cells = work.views * work.latents
    copies = 3 * (work.views + work.latents - 1)
    return (
        block_bytes(work, None)
        + copies * cells * work.tokens * work.params.width * work.value_bytes
    )


def vae_bytes(work: WanWork, tiled: bool) -> int:
    """Bytes of decoding one row, beside the weights."""
    height, width = (min(x, TILE) if tiled else x for x in (work.height, work.width))
    widest = work.vae.decoder_width * (2 if work.vae.residual else 1)
    at_once = TIME_STRIDE if work.time_stride > 1 else 1
    pixels = (height // work.vae.pixel_patch) * (width // work.vae.pixel_patch)
    frames = 3 * work.times * work.height * work.width * 4
    return VAE_MAPS * widest * at_once * pixels * 4 + 4 * frames


@dataclass(frozen=True)
class Plan:
    """How the parts share the device; `gigabytes` is the peak, `parts` the peak while each runs."""

    offload: bool = False  # only the part that runs is on the device
    tiled: bool = False  # the autoencoder works tile by tile
    clips_at_once: int | None = None
    text_on_cpu: bool = False  # the text encoder never comes to the device
    gigabytes: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        how = [
            "parts in turn on the device" if self.offload else "",
            "tiled autoencoder" if self.tiled else "",
            f"{self.clips_at_once} clip(s) at a time" if self.clips_at_once else "",
            "text encoder on the CPU" if self.text_on_cpu else "",
        ]
        return f"about {self.gigabytes:.1f} GB" + "".join(f", {h}" for h in how if h)


def plan_of(
    work: WanWork, offload: bool, tiled: bool, clips: int | None, text_on_cpu: bool = False
) -> Plan:
    """The estimated peak of doing it so."""
    weights = {
        "text encoder": work.text * work.value_bytes,
        "transformer": (work.transformer + work.adapter_parameters()) * work.value_bytes,
        "autoencoder": work.autoencoder * 4,
    }
    if work.mixer == "fused":
        network = resident_bytes(work) + fused_bytes(work)
    else:
        network = resident_bytes(work) + block_bytes(work, clips)
    text = TEXT_TOKENS * work.params.text_width * 16 * work.value_bytes
    if text_on_cpu:
        weights["text encoder"], text = 0.0, 0
    busy = {"text encoder": text, "transformer": network, "autoencoder": vae_bytes(work, tiled)}
    held = 0.0 if offload else sum(weights.values())
    parts = {
        name: HEADROOM * ((weights[name] if offload else held) + busy[name]) / GB for name in busy
    }
    return Plan(offload, tiled, clips, text_on_cpu, max(parts.values()), parts)


def plan_for(work: WanWork, bound_gb: float | None) -> Plan:
    """The fastest plan that stays within a bound (None: no bound).

    In turn: everything on the device; parts in turn; a tiled autoencoder; fewer clips at a time.
    A text encoder that alone is too large for the bound stays on the CPU (it runs once).  A bound
    that nothing fits into is said in one line, and the smallest plan is used; UserError when it is
    the mixer `fused`, which cannot be split, that does not fit.
    """
    if bound_gb is None:
        return plan_of(work, False, False, None)
    alone = plan_of(work, True, True, 1).parts["text encoder"]
    most = max(work.views, work.latents)
    fewer = [] if work.mixer == "fused" else [2**i for i in range(10, -1, -1) if 2**i < most]
    choices: list[tuple[bool, bool, int | None]] = [
        (False, False, None), (True, False, None), (True, True, None),
        *((True, True, n) for n in fewer),
    ]  # fmt: skip
    for choice in choices:
        plan = plan_of(work, *choice, text_on_cpu=choice[0] and alone > bound_gb)
        if plan.gigabytes <= bound_gb:
            return plan
    if work.mixer == "fused" and plan.parts["transformer"] > bound_gb:
        raise UserError(
            f"the fused mixer attends to the whole window at once and needs about "
            f"{plan.parts['transformer']:.1f} GB, {bound_gb:.1f} GB are allowed; use another mixer"
        )
    warn(
        f"Wan needs about {plan.gigabytes:.1f} GB even part by part and clip by clip, "
        f"{bound_gb:.1f} GB are allowed; trying all the same"
    )
    return plan


def fit_lines(free_gb: float | None) -> list[str]:
    """What `doctor` says: whether each published model fits the card (None: there is none)."""
    lines = []
    for name, card in MODELS.items():
        work = WanWork.of(card, 8, 9, 480, 832)
        at_once, least = plan_of(work, False, False, None), plan_of(work, True, True, 1, True)
        line = (
            f"{name}, 8 x 9 at 480x832: about {at_once.gigabytes:.0f} GB at once, "
            f"{least.gigabytes:.0f} GB at least"
        )
        if free_gb is None:
            line += " (no CUDA device here)"
        elif least.gigabytes > free_gb:
            line += f"; does not fit the {free_gb:.0f} GB that are free"
        else:
            line += f"; fits the {free_gb:.0f} GB that are free: {plan_for(work, free_gb)}"
        lines.append(line)
    return lines
