"""Cameras of views that are far apart: SIFT with affine shapes, incremental mapping by pycolmap.

Used where the clip's own flow cannot link neighbours. pycolmap is imported only then, runs on one
thread with a fixed seed, and so gives the same cameras every time.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tracking.cameras.fallbacks import FallbackConfig, interpolate_missing, left_out_lines
from tracking.cameras.search import Attempt, Cameras, Search
from tracking.depth.consistency import is_far

LONG_SIDE = 800  # smaller pictures are enlarged towards this, at most twice
_LEAST_POINTS = 12  # which a range of depths can be read from
_FEW = 8  # views that need all matches there are
_NOISE_PX = 1.0  # off by more, a feature has ever less say
_ALIKE_DEG = 3.0  # of two models of the same cameras
_FIELD_DEG = (3.0, 140.0)  # that a lens sees


@dataclass
class WideCameras:
    """What the mapping gave: focal in pixels of the frames, w2c [V, 4, 4] (identity where not
    placed), placed bool [V], points [M, 3] in the world, explained: share of the matches between
    placed neighbours that are points of this model, field_deg: of view along the longer side."""

    focal: float
    w2c: np.ndarray
    placed: np.ndarray
    points: np.ndarray
    explained: float
    field_deg: float


def wide_cameras(
    frames: np.ndarray,
    focal: float | None = None,
    fine: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
) -> WideCameras | None:
    """Map frames [V, H, W, 3] (0..1) of one camera; its focal length in pixels, if it is known.

    fine: uint8 [V, h, w, 3], the same frames larger, used in their stead. left_out: bool [V, H, W],
    where no features are looked for. None when no two views start a model.
    """
    best: WideCameras | None = None
    if fine is not None:
        scale = fine.shape[2] / frames.shape[2]
        images = list(fine)
    else:
        # small pictures give few features, and coarse ones
        scale = float(np.clip(LONG_SIDE / max(frames.shape[1:3]), 1.0, 2.0))
        size = round(frames.shape[2] * scale), round(frames.shape[1] * scale)
        larger = (cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) for f in frames)
        images = [(np.clip(f, 0, 1) * 255 + 0.5).astype(np.uint8) for f in larger]
    known = None if focal is None else focal * scale
    kind = False
    for affine in (False, True):
        found = _mapped(images, known, affine, left_out)
        if found is not None and (best is None or found.placed.sum() > best.placed.sum()):
            best, kind = found, affine
        if best is not None and best.placed.all():
            break
    if best is not None and best.placed.all() and len(images) <= _FEW:
        # matches looked for along epipolar lines are twice as many, but on their own they may
        # hold a wrong model up
        again = _mapped(images, known, kind, left_out, guided=True)
        if again is not None and again.placed.all() and _apart_deg(best, again) < _ALIKE_DEG:
            best = again
    if best is not None:
        best.focal /= scale
    return best


def _apart_deg(a: WideCameras, b: WideCameras) -> float:
    """By how much any two views are turned differently to each other, at most."""
    turns = [m.w2c[:, :3, :3] @ m.w2c[0, :3, :3].T for m in (a, b)]
    cosine = (np.einsum("vij,vij->v", *turns) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max())


def not_usable(found: WideCameras | None, limits: FallbackConfig) -> str | None:
    """Why the cameras of wide-baseline features cannot be used, or None."""
    low, high = _FIELD_DEG
    if (
        found is None
        or len(found.points) < _LEAST_POINTS
        or not low < found.field_deg < high  # of a lens: a model that is no picture of anything
    ):
        return "wide-baseline features start no model"
    placed, views = int(found.placed.sum()), len(found.placed)
    if placed < max(3, limits.wide_placed * views):
        return f"wide-baseline features place {placed} of {views} views"
    if found.explained < limits.wide_explained:
        return f"only {100 * found.explained:.0f} % of wide-baseline features fit one rigid scene"
    return None


def far_apart(search: Search, found: WideCameras, own: Attempt) -> Cameras:
    """Cameras of wide-baseline features, the placed view nearest to the central one as the world.

    own: what the clip's own tracks gave, which was not enough.
    """
    good = np.flatnonzero(found.placed)
    middle = int(good[np.abs(good - search.central).argmin()])
    home = found.w2c[middle]
    w2c = interpolate_missing(found.w2c @ np.linalg.inv(home), found.placed)
    points = found.points @ home[:3, :3].T + home[:3, 3]
    dropped = np.flatnonzero(~found.placed).tolist()
    why = own.why or f"{own.placed} of {len(w2c)} views follow from one another"
    search.note(
        f"neighbouring views cannot be linked ({why}): cameras come from wide-baseline features"
    )
    for line in left_out_lines(dropped, len(w2c)):
        search.note(line)
    K = search.intrinsics(found.focal * search.pairs.scale[0])
    return Cameras(K, w2c, points, 1.0, dropped, middle, True)


def _mapped(
    images: list[np.ndarray],
    focal: float | None,
    affine: bool,
    left_out: np.ndarray | None,
    guided: bool = False,
) -> WideCameras | None:
    """One go of the mapping; affine: features that bear a turned surface, four times as slow.

    images: uint8 [h, w, 3] each. guided: once two views are related, more matches are looked for
    along their epipolar lines.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    height, width = images[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        at, database = Path(folder) / "images", Path(folder) / "database.db"
        at.mkdir()
        for v, image in enumerate(images):
            cv2.imwrite(str(at / f"{v:04d}.png"), np.ascontiguousarray(image[..., ::-1]))
        reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE")
        if left_out is not None:
            masks = Path(folder) / "masks"
            masks.mkdir()
            for v, none in enumerate(left_out):
                mask = cv2.resize((~none).astype(np.uint8) * 255, (width, height))
                cv2.imwrite(str(masks / f"{v:04d}.png.png"), mask)
            reader.mask_path = masks
        if focal is not None:
            reader.camera_params = f"{focal},{width / 2},{height / 2}"
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.num_threads, extraction.use_gpu = 1, False
        extraction.sift.estimate_affine_shape = affine
        extraction.sift.domain_size_pooling = affine
        matching = pycolmap.FeatureMatchingOptions()
        matching.num_threads, matching.use_gpu = 1, False
        matching.guided_matching = guided
        mapping = pycolmap.IncrementalPipelineOptions()
        mapping.num_threads, mapping.min_model_size = 1, 3
        mapping.mapper.init_min_num_inliers = 50
        mapping.ba_refine_focal_length = focal is None
        pycolmap.extract_features(
            database, at, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader,
            extraction_options=extraction,
        )  # fmt: skip
        pycolmap.match_exhaustive(database, matching_options=matching)
        models = pycolmap.incremental_mapping(
            database, at, Path(folder) / "sparse", options=mapping
        )
        if not models:
            return None
        best = max(models.values(), key=lambda m: (m.num_reg_images(), m.num_points3D()))
        explained = _explained(best, database)
        found = _read(best, len(images), explained, max(height, width))
        if not mostly_far(found):
            return found
        _adjust(best, focal is None)
        return _read(best, len(images), explained, max(height, width))


def mostly_far(found: WideCameras) -> bool:
    """Whether at least half of the placed views are far from all others."""
    good = np.flatnonzero(found.placed).tolist()
    middle = np.median(found.points, axis=0) if len(found.points) else np.zeros(3)
    far = [
        is_far(v, good, found.w2c, float(abs(found.w2c[v, 2, :3] @ middle + found.w2c[v, 2, 3])))
        for v in good
    ]
    return bool(np.mean(far) >= 0.5) if far else False


def _adjust(model: Any, focal: bool) -> None:
    """Adjust a model once more, so that points that are a little off have little say.

    The mapping minimises squares, of all that is less than 4 pixels off: of few points over a wide
    baseline, wrong ones turn cameras. focal: that of the lens too.
    """
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions()
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _NOISE_PX
    options.ceres.solver_options.num_threads = 1
    options.refine_focal_length, options.print_summary = focal, False
    # as pycolmap.bundle_adjustment does, which logs whatever its level is
    config = pycolmap.BundleAdjustmentConfig()
    for image in model.reg_image_ids():
        config.add_image(image)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()


def _explained(model: Any, database: Path) -> float:
    """Share of the verified matches between placed neighbours that became points of the model."""
    import pycolmap

    placed = sorted((i.name, i) for i in model.images.values() if i.has_pose)
    stored = pycolmap.Database.open(str(database))
    total = met = 0
    for (_, a), (_, b) in zip(placed[:-1], placed[1:], strict=True):
        verified = stored.read_two_view_geometry(a.image_id, b.image_id).inlier_matches
        ends = [(a.points2D[i], b.points2D[j]) for i, j in verified]
        total += len(ends)
        met += sum(p.has_point3D() and p.point3D_id == q.point3D_id for p, q in ends)
    stored.close()
    return met / max(total, 1)


def _read(model: Any, views: int, explained: float, long_side: int) -> WideCameras:
    w2c, placed = np.tile(np.eye(4), (views, 1, 1)), np.zeros(views, bool)
    for image in model.images.values():
        if not image.has_pose:
            continue
        pose = image.cam_from_world
        pose = pose() if callable(pose) else pose
        v = int(Path(image.name).stem)
        w2c[v, :3], placed[v] = pose.matrix(), True
    sure = [p for p in model.points3D.values() if p.track.length() >= 3]
    points = np.array([p.xyz for p in (sure or list(model.points3D.values()))]).reshape(-1, 3)
    focal = float(next(iter(model.cameras.values())).params[0])
    field = 2 * np.degrees(np.arctan(long_side / (2 * focal)))
    return WideCameras(focal, w2c, placed, points, explained, float(field))
