import pytest

from gen.footage.selection import SHORT_SIDE, default_size


@pytest.mark.parametrize("own", [(1080, 1920), (1920, 1080), (480, 854), (300, 300)])
def test_larger_footage_is_worked_at_one_short_side_in_its_own_shape(own):
    size = default_size(*own)
    assert min(size) == SHORT_SIDE
    assert size[0] / size[1] == pytest.approx(own[0] / own[1], rel=0.5 / SHORT_SIDE)


@pytest.mark.parametrize("own", [(288, 512), (144, 256), (180, 320), (40, 64)])
def test_footage_is_never_enlarged(own):
    assert default_size(*own) == own
