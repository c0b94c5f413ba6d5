"""How far apart colours are."""

import numpy as np

from fourreal.colour import difference


def test_the_channel_that_differs_most_counts_whatever_the_shapes():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 5, 3)).astype(np.float32), rng.random(3).astype(np.float32)
    assert np.array_equal(difference(a, b), np.abs(a - b).max(-1))
    assert np.array_equal(difference(a, b), difference(b, a))
    assert difference(np.zeros((0, 3)), b).shape == (0,)
    assert np.isnan(difference([[0.0, np.nan, 0.0]], b)).all()  # nothing hides what is no colour
