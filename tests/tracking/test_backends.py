"""Every tracker and depth estimator keeps one contract; stand-ins have the real interfaces."""

import copy
import json
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from fourreal.cameras import pixel_grid, project
from fourreal.checkout import load_weights
from fourreal.errors import UserError
from run_pipeline import main
from scripts.evaluate.tracking_scores import camera_errors, true_tracks
from tests.tracking import stand_ins
from tests.tracking.textured_room import arc, render_path
from tracking.backends.table import Choice, FlowTracker, listing
from tracking.backends.with_any import track_with
from tracking.column import track_column
from tracking.column_file import save_column
from tracking.depth.guided import guide_depth
from tracking.protocols import Depth, DepthEstimator, Tracker

VIEWS, QUERY = 5, 2
SCALES = np.array([0.8, 1.15, 1.0, 0.9, 1.25])


@pytest.fixture(scope="module")
def room():
    return render_path(arc(VIEWS, 16.0))


@pytest.fixture(scope="module")
def checkouts(room, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkouts")
    return {
        "alltracker": stand_ins.alltracker(folder / "alltracker"),
        "tiny": stand_ins.alltracker(folder / "tiny", tiny=True),
        "delta": stand_ins.delta(folder / "delta"),
        "delta-v2": stand_ins.delta(folder / "delta2", 2),
        "moge": stand_ins.moge(folder / "moge", room.frames, room.depth, room.K, SCALES),
    }


@pytest.fixture(autouse=True)
def needs(monkeypatch):
    """What the real ones import, the stand-ins do not need; paths in the environment count not."""
    for name in ("einops", "jaxtyping", "torchvision", "utils3d", "huggingface_hub"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("ALLTRACKER", "DELTA", "DELTA_V2", "MOGE", "DEPTH_ANYTHING", "TRACKS"):
        monkeypatch.delenv(f"FOURREAL_{name}", raising=False)
        monkeypatch.delenv(f"FOURREAL_{name}_WEIGHTS", raising=False)


def choose(checkouts, tracker="flow", depth="flow"):
    t, d = checkouts.get(tracker, ("", "")), checkouts.get(depth, ("", ""))
    name = "alltracker" if tracker == "tiny" else tracker
    return Choice(name, depth, *t, *d)


@pytest.fixture(scope="module")
def plain(room):
    return track_column(room.frames)


def tracker_of(name, checkouts, plain, tmp_path, monkeypatch):
    if name == "delta-v2":  # the real one needs CUDA; the stand-in does not
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr("tracking.backends.delta.device", lambda: torch.device("cpu"))
    if name == "npz":
        save_column(plain, tmp_path / "made.npz")
        return Choice("npz", tracker_path=str(tmp_path / "made.npz")).make_tracker()
    return choose(checkouts, name).make_tracker()


@pytest.mark.parametrize("name", ["flow", "alltracker", "tiny", "delta", "delta-v2", "npz"])
@pytest.mark.parametrize("frames", [VIEWS, 2])
def test_contract(name, frames, room, checkouts, plain, tmp_path, monkeypatch):
    if frames == 2 and name in ("flow", "npz"):
        pytest.skip("a clip of two frames matters to forward-only trackers")
    query = QUERY if frames == VIEWS else 1
    clip = room.frames[:frames]
    tracker = tracker_of(name, checkouts, plain, tmp_path, monkeypatch)
    assert isinstance(tracker, Tracker) and tracker.is_available() == (True, "")
    sure = np.ones((frames, *room.depth.shape[1:]), np.float32)
    depth = Depth(room.depth[:frames].astype(np.float32), sure, room.K, "scale")
    state = torch.random.get_rng_state()
    tracks = tracker(clip, depth, room.K, query)
    assert torch.equal(state, torch.random.get_rng_state()), "importing changed torch's generator"
    assert not {"nets", "densetrack3d"} & set(sys.modules), "names of the checkout stayed"

    height, width = tracks.size
    grid = pixel_grid(height, width).reshape(-1, 2)
    assert tracks.uv.shape == (frames, height * width, 2) and tracks.central == query
    np.testing.assert_allclose(tracks.uv[query], grid, atol=1e-3)
    np.testing.assert_allclose(tracks.query_uv, grid, atol=1e-3)
    assert (tracks.query_frame == query).all() and tracks.visible[query].all()
    finite = np.isfinite(tracks.z)
    assert (tracks.z[finite] > 0).all() and finite[tracks.visible].all()
    uv, _ = project(tracks.xyz, tracks.K)
    np.testing.assert_allclose(uv[finite], tracks.uv[finite], atol=2e-2)
    truth, points, seen = true_tracks(room.depth[:frames], clip_K(room, frames), room.w2c, query)
    for v in range(frames):
        both = seen[v] & tracks.visible[v]
        assert both.mean() > 0.5
        assert np.median(np.linalg.norm(tracks.uv[v] - truth[v], axis=1)[both]) < 0.6, v
        if name not in ("flow", "npz"):  # these have a unit of their own
            assert np.median(np.abs(tracks.z[v] / points[v][:, 2] - 1)[both]) < 0.02


def clip_K(room, frames):
    return np.broadcast_to(room.K, (frames, 3, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracker", "depth"),
    [("alltracker", "moge"), ("delta", "moge"), ("delta", "flow"), ("flow", "moge")],
)
def test_cameras_and_depth_with_any_pair(tracker, depth, room, checkouts):
    column = track_with(room.frames, choose(checkouts, tracker, depth))
    errors = camera_errors(column.w2c, room.w2c)
    assert errors["rotation_deg"] < 0.6 and errors["centre_percent"] < 3.0, errors
    scale = np.median(room.depth / column.depth)
    relative = np.abs(column.depth * scale / room.depth - 1)
    assert np.median(relative) < 0.03
    np.testing.assert_allclose(column.w2c[column.central], np.eye(4), atol=1e-6)
    assert np.median(column.depth[column.central]) == pytest.approx(1.0, rel=0.02)
    assert column.K[0, 0, 0] == pytest.approx(room.K[0, 0], rel=0.1)
    assert column.tracks.nonrigid.mean() < 0.2


def test_given_cameras_are_kept(room, checkouts):
    column = track_with(
        room.frames, choose(checkouts, "alltracker", "moge"), K=room.K, w2c=room.w2c
    )
    np.testing.assert_array_equal(column.w2c, room.w2c)
    assert np.median(np.abs(column.depth / room.depth - 1)) < 0.03


def fake_transformers(monkeypatch, room, folder):
    """The two calls of transformers that are used; disparity with a shift and a scale a frame."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"backbone_config": {"hidden_size": 384}}))
    (folder / "model.safetensors").write_bytes(b"")

    class Model(torch.nn.Module):
        calls = 0

        @classmethod
        def from_pretrained(cls, path, local_files_only=False, use_safetensors=False):
            assert local_files_only and use_safetensors
            return cls()

        def forward(self, pixel_values):
            b, c, h, w = pixel_values.shape
            assert c == 3 and h % 14 == 0 and w % 14 == 0 and pixel_values.min() < -0.5
            rho = torch.from_numpy(1.0 / room.depth[self.calls])[None, None]
            Model.calls += 1
            rho = torch.nn.functional.interpolate(rho, (h, w), mode="bilinear")[:, 0]
            return types.SimpleNamespace(predicted_depth=(30.0 + self.calls) * rho - 2.0)

    module = types.ModuleType("transformers")
    module.AutoModelForDepthEstimation = Model
    monkeypatch.setitem(sys.modules, "transformers", module)
    return Choice(depth="depth-anything", depth_weights=str(folder))


def test_disparity_is_aligned_and_fills_what_flow_does_not_see(room, monkeypatch, tmp_path):
    network = fake_transformers(monkeypatch, room, tmp_path / "small").make_depth()
    assert isinstance(network, DepthEstimator)
    estimate = network(room.frames)
    assert estimate.kind == "disparity" and estimate.K is None
    hole = np.zeros(room.depth.shape, bool)
    hole[:, 30:60, 30:70] = True  # the front of the box and wall beside it
    swept = np.where(hole, 1.7, room.depth).astype(np.float32)
    trust = np.where(hole, 0.0, 0.9).astype(np.float32)
    depth, sure = guide_depth(swept, trust, estimate, room.frames)
    error = np.abs(depth / room.depth - 1)
    assert np.median(error[hole]) < 0.02 and np.percentile(error[hole], 90) < 0.1
    np.testing.assert_array_equal(depth[~hole], swept[~hole])
    assert (sure[hole] < 0.3).all() and (sure[~hole] == trust[~hole]).all()


def test_a_still_camera_takes_the_networks_shape(room, monkeypatch, tmp_path):
    choice = fake_transformers(monkeypatch, room, tmp_path / "small")
    column = track_with(np.repeat(room.frames[2:3], 4, 0), choice)
    assert not column.parallax and any("network" in n for n in column.notes)
    assert np.ptp(column.depth[0]) > 0.3


@pytest.mark.slow
def test_tracks_from_a_file(room, plain, tmp_path):
    column = copy.deepcopy(plain)
    save_column(column, tmp_path / "made.npz")
    again = track_with(room.frames, Choice("npz", tracker_path=str(tmp_path / "made.npz")))
    np.testing.assert_array_equal(again.tracks.uv, column.tracks.uv)
    np.testing.assert_allclose(again.depth, column.depth)
    column.tracks.w2c = np.broadcast_to(np.eye(4), (VIEWS, 4, 4)).copy()
    column.tracks.save(tmp_path / "bare.npz")
    found = track_with(room.frames, Choice("npz", tracker_path=str(tmp_path / "bare.npz")))
    assert camera_errors(found.w2c, room.w2c)["centre_percent"] < 3.0
    with pytest.raises(UserError, match="the clip has 3"):
        track_with(room.frames[:3], Choice("npz", tracker_path=str(tmp_path / "made.npz")))


def test_pickled_objects_are_refused(tmp_path, checkouts):
    path = tmp_path / "evil.pth"
    torch.save({"model": types.SimpleNamespace(a=1)}, path)
    with pytest.raises(UserError, match="refused"):
        load_weights(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError):
        load_weights(path)


def test_weights_of_another_model_are_refused(room, tmp_path, checkouts):
    path = tmp_path / "other.pth"
    torch.save({"something.weight": torch.zeros(1)}, path)
    choice = Choice("delta", tracker_path=checkouts["delta"][0], tracker_weights=str(path))
    depth = Depth(room.depth, room.depth, room.K, "scale")
    with pytest.raises(UserError, match="lacks 2 tensors"):
        choice.make_tracker()(room.frames, depth, room.K, QUERY)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tracker", "alltracker"], "no checkout given"),
        (["--tracker", "delta", "--tracker-path", "."], "not a checkout"),
        (["--tracker", "npz", "--tracker-path", "nowhere.npz"], "no file nowhere.npz"),
        (["--depth", "moge"], "no weights given"),
        (["--depth", "depth-anything", "--depth-weights", "nowhere"], "no weights at nowhere"),
    ],
)
def test_what_is_missing_is_said_in_one_line(options, says, tmp_path, capsys):
    clip = tmp_path / "clip"
    clip.mkdir()
    code = main(["videos", "--freeze-time", str(clip), *options, "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err.strip()
    assert code == 2 and says in error and len(error.splitlines()) == 1, error
    assert not (tmp_path / "run").exists()


def test_listing_says_licence_and_reason(monkeypatch, checkouts):
    lines = {line.split()[2]: line for line in listing() if line.startswith("tracker")}
    assert lines["flow"].startswith("tracker: yes")
    assert "non-commercial" in lines["delta"] and "no checkout given" in lines["delta"]
    monkeypatch.setenv("FOURREAL_DELTA", checkouts["delta"][0])
    monkeypatch.setenv("FOURREAL_DELTA_WEIGHTS", checkouts["delta"][1])
    assert any(line.startswith("tracker: yes delta ") for line in listing())


def test_flow_is_a_tracker():
    assert isinstance(FlowTracker(), Tracker)
