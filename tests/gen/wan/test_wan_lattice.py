"""The latent lattice: what the causal autoencoder makes exact, and how frames are counted."""

from __future__ import annotations

import pytest
import torch

from gen.wan.lattice import LatentCodec, covered_frames, fitting_size, latent_times
from tests.gen.wan.tiny import tiny_vae

H, W = 16, 24


@pytest.fixture(scope="module")
def vae():
    return tiny_vae()


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, H, W, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_first_latent_of_a_video_is_that_of_its_first_frame(vae):
    codec, video = LatentCodec(vae), frames(9)
    close(codec.encode_clip(video)[:1], codec.encode_clip(video[:1]))
    close(codec.encode_clip(video)[:1], codec.encode_images(video[:1]))


def test_latents_do_not_see_later_frames(vae):
    codec, video = LatentCodec(vae), frames(9)
    changed = torch.cat([video[:5], frames(4, seed=1)])
    close(codec.encode_clip(changed)[:2], codec.encode_clip(video)[:2])
    assert not torch.allclose(codec.encode_clip(changed)[2], codec.encode_clip(video)[2])
    close(codec.encode_clip(video[:5]), codec.encode_clip(video)[:2])


def test_decoded_frames_do_not_see_later_latents(vae):
    codec = LatentCodec(vae)
    z = torch.randn(3, 16, 2, 3, generator=torch.Generator().manual_seed(0))
    close(codec.decode_clip(z[:1], 1), codec.decode_clip(z, 1))
    close(codec.decode_clip(z[:2], 5), codec.decode_clip(z, 9)[:5])


def test_row_and_column_encodes_are_the_latents_of_the_whole_grid(vae):
    codec, grid = LatentCodec(vae), frames(3, 5)
    whole = codec.encode_grid(grid)
    lattice, known = codec.encode_cross(grid[0], grid[:, 0])
    assert lattice.shape == whole.shape == (3, 2, 16, 2, 3)
    assert known.tolist() == [[True, True], [True, False], [True, False]]
    close(lattice[known], whole[known])
    assert not lattice[~known].any()


def test_every_frame_an_image(vae):
    codec, grid = LatentCodec(vae, time_stride=1), frames(2, 3)
    whole = codec.encode_grid(grid)
    assert whole.shape == (2, 3, 16, 2, 3)
    close(whole[1, 2], codec.encode_images(grid[1, 2:])[0])
    assert codec.decode_grid(whole, 3).shape == grid.shape
    lattice, known = codec.encode_cross(grid[0], grid[:, 0])
    close(lattice[known], whole[known])


def test_rows_of_any_length(vae):
    """A length that is not 4k + 1 is filled up by repeating the last frame."""
    codec, video = LatentCodec(vae), frames(8)
    filled = torch.cat([video, video[-1:]])
    close(codec.encode_clip(video), codec.encode_clip(filled))
    assert codec.decode_clip(codec.encode_clip(video), 8).shape == video.shape


def test_counting():
    assert [latent_times(n) for n in (1, 2, 5, 6, 8, 9)] == [1, 2, 2, 3, 3, 3]
    assert [covered_frames(n) for n in (1, 2, 3)] == [1, 5, 9]
    assert latent_times(7, 1) == covered_frames(7, 1) == 7
    assert fitting_size(480, 853, 16) == (480, 848)
    assert fitting_size(10, 17, 16) == (16, 16)
    with pytest.raises(ValueError, match="time_stride"):
        LatentCodec(tiny_vae(), 2)


def test_latents_have_the_scale_the_model_knows(vae):
    """(z - mean) / deviation of the configuration, and back."""
    codec, image = LatentCodec(vae), frames(1)
    with torch.no_grad():
        z = vae.encode(image.permute(3, 0, 1, 2)[None]).latent_dist.mode()[0, :, 0]
        mean, std = (
            torch.tensor(getattr(vae.config, k))[:, None, None]
            for k in ("latents_mean", "latents_std")
        )
        close(codec.encode_clip(image)[0], (z - mean) / std)
        decoded = vae.decode(z[None, :, None]).sample[0].permute(1, 2, 3, 0)
    close(codec.decode_clip(codec.encode_clip(image), 1), decoded)


def test_tiling_keeps_the_shape(vae):
    tiled = tiny_vae()
    tiled.enable_tiling(32, 32, 24, 24)
    video = torch.rand(5, 48, 64, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    plain, parts = LatentCodec(vae), LatentCodec(tiled)
    assert parts.encode_clip(video).shape == plain.encode_clip(video).shape
    latents = plain.encode_clip(video)
    assert parts.decode_clip(latents, 5).shape == plain.decode_clip(latents, 5).shape
