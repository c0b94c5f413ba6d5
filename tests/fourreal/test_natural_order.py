"""Names sort as people count."""

from hypothesis import given
from hypothesis import strategies as st

from fourreal.natural_order import natural_key


def ordered(*names):
    return sorted(names, key=natural_key)


def test_numbers_in_names_are_numbers():
    assert ordered("cam10", "cam2", "cam1") == ["cam1", "cam2", "cam10"]
    assert ordered("v100", "v99") == ["v99", "v100"]
    assert ordered("10.jpg", "9.jpg") == ["9.jpg", "10.jpg"]
    assert ordered("a2b10", "a2b9", "a10b1") == ["a2b9", "a2b10", "a10b1"]
    assert ordered("B1", "a2", "A1") == ["A1", "a2", "B1"]
    assert ordered("x", "1", "x1") == ["1", "x", "x1"]


def test_padded_names_sort_as_they_did():
    names = [f"cam{k:02d}_{t:04d}.png" for k in range(12) for t in (0, 5, 11)]
    assert ordered(*reversed(names)) == sorted(names)


@given(st.lists(st.text(max_size=8), unique=True))
def test_any_names_have_one_order(names):
    assert ordered(*names) == ordered(*reversed(names))
