"""Packing of integer sections is lossless, whatever the type and the axes."""

import numpy as np
import pytest

from viewer.page.sections import DTYPES, pack, unpack


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "delta"), [((1, 7), (1,)), ((3, 4, 50), (1, 2)), ((2, 1, 1), (1, 2)), ((4, 9), ())]
)
def test_any_integers_come_back(dtype, shape, delta):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values.reshape(-1)[0], values.reshape(-1)[-1] = info.min, info.max
    back = unpack(pack(values, delta), dtype, shape, delta)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


def test_wrong_length_and_type_are_refused():
    data = pack(np.arange(6, dtype=np.int16), ())
    with pytest.raises(ValueError, match="12 bytes do not fill"):
        unpack(data, "int16", (7,), ())
    with pytest.raises(ValueError, match="unknown integer type"):
        unpack(data, "object", (6,), ())
