"""Sizes of the Wan models that the two streams run on, and where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fourreal.errors import UserError

TEXT_TOKENS = 512  # the pre-trained models always saw so many, padded with zeros
TIME_STRIDE: Literal[4] = 4  # frames of one latent, but for the first (which holds one)


@dataclass(frozen=True)
class WanParams:
    """Hyper-parameters of one transformer, by our names."""

    width: int
    depth: int
    heads: int
    hidden: int  # of the feed-forward network
    channels: int  # of a latent
    text_width: int = 4096
    frequencies: int = 256  # of the noise level's embedding
    patch: int = 2  # latent pixels of a token's side
    rope_length: int = 1024

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> WanParams:
        """The sizes in a library configuration; UserError for a model of another kind."""
        t, h, w = config["patch_size"]
        if config.get("image_dim") is not None or config.get("added_kv_proj_dim") is not None:
            raise UserError("this is a Wan image-to-video model; use a T2V or TI2V one")
        if config["in_channels"] != (config["out_channels"] or config["in_channels"]):
            raise UserError(
                f"this Wan model takes {config['in_channels']} channels and gives "
                f"{config['out_channels']}; use a T2V or TI2V one"
            )
        if t != 1 or h != w:
            raise UserError(f"patches of {t}x{h}x{w} are not supported, only 1xPxP")
        return cls(
            width=config["num_attention_heads"] * config["attention_head_dim"],
            depth=config["num_layers"],
            heads=config["num_attention_heads"],
            hidden=config["ffn_dim"],
            channels=config["in_channels"],
            text_width=config["text_dim"],
            frequencies=config["freq_dim"],
            patch=h,
            rope_length=config["rope_max_seq_len"],
        )

    def library_config(self) -> dict[str, Any]:
        """Arguments of diffusers' `WanTransformer3DModel`."""
        return {
            "patch_size": (1, self.patch, self.patch),
            "num_attention_heads": self.heads,
            "attention_head_dim": self.width // self.heads,
            "in_channels": self.channels,
            "out_channels": self.channels,
            "text_dim": self.text_width,
            "freq_dim": self.frequencies,
            "ffn_dim": self.hidden,
            "num_layers": self.depth,
            "rope_max_seq_len": self.rope_length,
        }

    def tokens(self, latent_height: int, latent_width: int) -> int:
        """Tokens of a latent frame."""
        return (latent_height // self.patch) * (latent_width // self.patch)


@dataclass(frozen=True)
class VaeParams:
    """Sizes of one video autoencoder; `space` is how many pixels a latent pixel's side spans."""

    channels: int
    space: int
    encoder_width: int
    decoder_width: int
    residual: bool = False
    pixel_patch: int = 1  # pixels are folded into channels by this factor first

    def library_config(self) -> dict[str, Any]:
        """Arguments of diffusers' `AutoencoderKLWan`, but for the latents' mean and deviation."""
        folded = 3 * self.pixel_patch**2
        return {
            "base_dim": self.encoder_width,
            "decoder_base_dim": self.decoder_width,
            "z_dim": self.channels,
            "is_residual": self.residual,
            "in_channels": folded,
            "out_channels": folded,
            "patch_size": None if self.pixel_patch == 1 else self.pixel_patch,
            "scale_factor_spatial": self.space,
            "latents_mean": [0.0] * self.channels,
            "latents_std": [1.0] * self.channels,
        }


@dataclass(frozen=True)
class WanModelCard:
    """A published checkpoint: where it is, what it may be used for, how large it is.

    Millions of parameters are those of the configuration (a test counts them); `download_gb` is
    that of the whole folder as published.
    """

    repository: str
    licence: str
    download_gb: int
    params: WanParams
    vae: VaeParams
    transformer_millions: float
    vae_millions: float
    text_millions: float = 5680.9
    clean_tokens: bool = False  # trained with known latents clean at token timestep 0
    shift: float = 3.0

    @property
    def pixels_a_token(self) -> int:
        """Frames must be multiples of this on both sides."""
        return self.vae.space * self.params.patch


MODELS: dict[str, WanModelCard] = {
    "wan2.1-t2v-1.3b": WanModelCard(
        repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        licence="Apache-2.0",
        download_gb=29,
        params=WanParams(width=1536, depth=30, heads=12, hidden=8960, channels=16),
        vae=VaeParams(channels=16, space=8, encoder_width=96, decoder_width=96),
        transformer_millions=1418.997,
        vae_millions=126.893,
    ),
    "wan2.2-ti2v-5b": WanModelCard(
        repository="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        licence="Apache-2.0",
        download_gb=34,
        params=WanParams(width=3072, depth=30, heads=24, hidden=14336, channels=48),
        vae=VaeParams(
            channels=48, space=16, encoder_width=160, decoder_width=256, residual=True,
            pixel_patch=2,
        ),
        transformer_millions=4999.788,
        vae_millions=704.689,
        clean_tokens=True,
        shift=5.0,
    ),
}  # fmt: skip
DEFAULT_MODEL = MODELS["wan2.1-t2v-1.3b"]
