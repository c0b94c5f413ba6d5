import numpy as np

from recon.canonical.hidden_background import plate


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
