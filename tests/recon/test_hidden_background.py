import numpy as np

from fourreal.cameras import intrinsics_from_fov
from recon.canonical.hidden_background import plate, seen_by_others


def test_a_plate_is_what_most_times_agree_on():
    """A square walks over a still picture; where it stands, other times show what is behind."""
    rng = np.random.default_rng(0)
    still = rng.random((24, 40, 3)).astype(np.float32)
    frames = np.repeat(still[None], 7, 0)
    for t in range(7):
        frames[t, 8:16, 5 * t : 5 * t + 6] = 0.5 + 0.4 * np.sin(t)
    colour, agreed, changes = plate(frames)
    assert agreed.all()
    assert (np.abs(colour - still).max(-1) < 0.06).mean() > 0.99  # but for rims of the square
    assert changes[8:16, :36].all() and not changes[22:, :].any()


def test_what_never_agrees_is_no_plate():
    frames = np.linspace(0, 1, 6, dtype=np.float32)[:, None, None, None]
    frames = np.broadcast_to(frames, (6, 12, 16, 3))
    _, agreed, changes = plate(frames)
    assert not agreed.any() and changes.all()


def test_a_colour_that_one_view_denies_is_not_behind():
    """The inside of a plain thing looks like a plate to two views; the third sees past it."""
    K = np.tile(intrinsics_from_fov(50, 20, 30), (3, 1, 1))
    w2c = np.tile(np.eye(4), (3, 1, 1))
    w2c[:, 0, 3] = (-0.1, 0.0, 0.1)
    points, orange = np.array([[0.0, 0.0, 3.0]]), np.array([[0.9, 0.5, 0.1]])
    agreed, alpha, far = np.ones((20, 30), bool), np.ones((20, 30)), np.full((20, 30), 3.0)

    def kept(*colours, depth=far):
        plates = {
            v: (np.broadcast_to(c, (20, 30, 3)), agreed, d, alpha)
            for v, (c, d) in enumerate(zip(colours, (far, far, depth), strict=False))
        }
        return bool(seen_by_others(points, orange, plates, K, w2c)[0])

    assert kept(orange[0], orange[0])
    assert not kept(orange[0], orange[0], (0.2, 0.3, 0.9))
    # something that stands before the point there tells nothing of it
    assert kept(orange[0], orange[0], (0.2, 0.3, 0.9), depth=np.full((20, 30), 1.0))
    assert not kept((0.2, 0.3, 0.9))
