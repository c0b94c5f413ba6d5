"""Pseudo-4D grids: row 0 is the clip, each row one affine warp of it, paths smooth, no black."""

from __future__ import annotations

import pytest
import torch

from gen.data.batches import Clip, ClipPool, PoolConfig, seeded
from gen.data.grid_batches import draw_grids
from gen.data.pseudo4d import AffineRange, Pseudo4D, affine_path, enlarged, warped_grid
from gen.network.dit import Mode

H, W = 24, 40


class Waves:
    """Clips of smooth bright waves that move, larger than the grid by `enlarged`."""

    def __init__(self, size: tuple[int, int] = enlarged(H, W)):
        self.size = size

    def prepare(self, step: int) -> None:
        """Nothing to render."""

    def item(self, step: int, number: int) -> Clip:
        h, w = self.size
        y, x = torch.meshgrid(torch.arange(h) - h / 2, torch.arange(w) - w / 2, indexing="ij")
        t = torch.arange(8)[:, None, None] * 0.6
        bands = [torch.sin(x / 5 + t), torch.cos(y / 4 - t), torch.sin((x + y) / 6 + t)]
        frames = torch.stack(bands, -1) * 60 + 170
        return Clip(frames.to(torch.uint8), f"waves {number}", Mode.DYNAMIC, True)


def test_row_0_is_the_clip_and_columns_follow_one_path():
    source = Waves()
    grid = Pseudo4D(source, H, W, 0).item(2, 5)
    assert grid.frames.shape == (8, 8, H, W, 3) and grid.text == "waves 5"
    clip = source.item(2, 5).frames
    top, left = (clip.shape[1] - H) // 2, (clip.shape[2] - W) // 2
    assert torch.equal(grid.frames[0], clip[:, top : top + H, left : left + W])
    # Every column alone is the path applied to its frame: nothing leaks between times.
    path = affine_path(8, H, W, seeded(0, 2, 5, 22))
    for t in (0, 3, 7):
        column = warped_grid(clip[t : t + 1], path, H, W)[:, 0]
        assert torch.equal(grid.frames[:, t], column)


def test_warps_move_pixels_where_the_matrix_says():
    dots = torch.zeros(1, *enlarged(H, W), 3, dtype=torch.uint8)
    h, w = dots.shape[1:3]
    x, y = 14, 9  # in the grid's pixels
    dots[:, y + (h - H) // 2, x + (w - W) // 2] = 255
    for number in range(6):
        path = affine_path(8, H, W, seeded(number))
        moved = warped_grid(dots, path, H, W)[:, 0, ..., 0].float()
        for v in range(8):
            want = path[v] @ torch.tensor([x, y, 1.0])
            weight = moved[v] / moved[v].sum()
            found = (
                weight.sum(0) @ torch.arange(W).float(),
                weight.sum(1) @ torch.arange(H).float(),
            )
            assert found[0] == pytest.approx(float(want[0]), abs=0.35)
            assert found[1] == pytest.approx(float(want[1]), abs=0.35)


def test_paths_are_smooth_start_at_the_identity_and_go_somewhere():
    corners = torch.tensor([[0.0, 0, 1], [W - 1, 0, 1], [0, H - 1, 1], [W - 1, H - 1, 1]]).T
    reach = []
    for number in range(40):
        path = affine_path(8, H, W, seeded(number))
        assert torch.equal(path[0], torch.eye(3))
        places = (path @ corners)[:, :2]
        steps = places.diff(dim=0)
        # No jump: the velocity changes by much less than the path is long.
        assert steps.diff(dim=0).norm(dim=1).max() < 0.3 * max(
            1.0, float(steps.norm(dim=1).sum(0).max())
        )
        reach.append(float((places[-1] - places[0]).norm(dim=0).mean()))
    assert min(reach) > 0.3 and 2 < sum(reach) / 40 < 12
    still = affine_path(8, H, W, seeded(0), AffineRange(0, 0, 0, 0))
    assert torch.allclose(still, torch.eye(3).expand(8, 3, 3), atol=1e-5)


def test_no_border_ever_shows_black():
    source = Waves()
    darkest = min(int(Pseudo4D(source, H, W, s).item(0, 0).frames.min()) for s in range(20))
    assert darkest >= 105  # the waves never go below 110
    wild = AffineRange(0.6, 60, 0.7, 30)  # far beyond the margin: reflected, not black
    assert int(Pseudo4D(source, H, W, 0, wild).item(0, 0).frames.min()) >= 105


def test_margins_are_even_and_small_clips_refused():
    for height, width in ((36, 64), (40, 64), (72, 128)):
        h, w = enlarged(height, width)
        assert (h - height) % 2 == 0 == (w - width) % 2 and h >= 1.25 * height
    clip = torch.zeros(2, H - 1, W, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least"):
        warped_grid(clip, affine_path(8, H, W, seeded(0)), H, W)
    with pytest.raises(ValueError, match="negative"):
        AffineRange(shift=-1)


def test_procedural_clips_make_pseudo_4d_batches():
    pool = ClipPool(0, 8, *enlarged(16, 24), PoolConfig(2, 1, 1, 4), only=Mode.DYNAMIC)
    batch = draw_grids(Pseudo4D(pool, 16, 24, 0), 0, 0, range(2), 4, 3)
    assert batch.clean.shape == (2, 4, 3, 16, 24, 3)
    again = draw_grids(Pseudo4D(pool, 16, 24, 0), 0, 0, range(1, 2), 4, 3)
    assert torch.equal(again.clean[0], batch.clean[1])
    assert not torch.equal(batch.clean[:, 0], batch.clean[:, 3])
