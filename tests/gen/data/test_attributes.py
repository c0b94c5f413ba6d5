"""Reading attributes back from true renders, clean and blurred."""

import numpy as np
import pytest
import torch

from gen.data.world.attributes import read_clip, read_objects
from gen.data.world.captions import canonical_caption, parse_prompt
from gen.data.world.procedural import render
from gen.data.world.scene import ObjectAttributes, attributes_of
from gen.data.world.scene_sampling import sample_scenes
from gen.data.world.segmentation import degrade

N = 70


@pytest.fixture(scope="module")
def clips():
    """N scenes that the readers were not fitted on, as clips [N,8,40,64,3] with their truth."""
    generator = torch.Generator().manual_seed(1234)
    scenes = sample_scenes(N, generator, relation=("alone", "beside"))
    u = torch.rand(N, 1, generator=generator)
    rgb = render(scenes, u, torch.linspace(0, 1, 8), 40, 64, samples=2).rgb[:, 0].numpy()
    return rgb, [attributes_of(scenes, i) for i in range(N)]


@pytest.mark.slow
@pytest.mark.parametrize("sigma,noise", [(0.0, 0.0), (1.0, 0.03)], ids=["clean", "blurred"])
def test_objects_and_motions_are_read_back(clips, sigma, noise):
    rng = np.random.default_rng(0)
    image_right, clip_right, motion_right, total = 0, 0, 0, 0
    for frames, truth in zip(*clips, strict=True):
        clip = degrade(frames, rng, sigma, noise)
        count = len(truth.objects)
        # Growing and shrinking objects are too small to name at one end: look in the middle.
        image = read_objects(clip[4], count) + [("", "", 0.0)] * count
        moving = read_clip(clip, count)
        for k, o in enumerate(truth.objects):
            image_right += image[k][:2] == (o.shape, o.colour)
            got = moving[k][0] if k < len(moving) else ObjectAttributes()
            clip_right += (got.shape, got.colour) == (o.shape, o.colour)
            motion_right += got.motion == o.motion
            total += 1
    assert image_right / total >= 0.95
    assert clip_right / total >= 0.97
    assert motion_right / total >= 0.93


@pytest.mark.slow
def test_readme_prompt_is_read_back_at_any_size():
    prompt = "a red ball bouncing beside a blue cube on a checkered floor"
    wanted = parse_prompt(prompt)
    objects = (wanted.objects[0], ObjectAttributes("cube", "blue", "still"))
    scenes = sample_scenes(1, torch.Generator().manual_seed(3), objects=objects, floor=wanted.floor)
    assert canonical_caption(scenes) == prompt
    times = torch.linspace(0, 1, 12)
    for height, width in ((40, 64), (72, 128), (144, 256)):
        clip = render(scenes, torch.zeros(1), times, height, width, samples=2).rgb[0, 0].numpy()
        assert {o for o, _, _ in read_clip(clip, 2)} == {
            ObjectAttributes("sphere", "red", "bounce"), objects[1],
        }  # fmt: skip


def test_empty_frames_have_no_objects():
    grey = np.full((8, 40, 64, 3), 0.5, np.float32)
    assert read_objects(grey[0], 2) == [] and read_clip(grey, 2) == []
    with pytest.raises(ValueError, match="clip"):
        read_clip(grey[0])
