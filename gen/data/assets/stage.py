"""Renders a scene of the asset world: its actors placed on the ground, every view at every time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from gen.data.assets.backdrop import Backdrop
from gen.data.assets.bake import BakedAsset, BakedPart, Placement, bake
from gen.data.assets.menagerie import COATS, SUBJECTS, Subject, action_of, asset_path
from gen.data.assets.render import AssetRenderer, srgb_decode
from gen.data.assets.scenes import TIMES, VIEWS, Actor, AssetScene, Repertoire
from gen.data.gltf.animation import Clip
from gen.data.gltf.asset import Asset, load_asset
from gen.data.gltf.materials import Material

LONGEST = 1.8  # seconds of a clip that a scene shows at most
HOVER = 0.55  # how high over the ground things that swim are


class Troupe:
    """The training assets, loaded once, and what each can do."""

    def __init__(self, assets: Path) -> None:
        """UserError when none of the world's assets is in the folder `assets`."""
        self.assets: dict[str, Asset] = {}
        self.subjects: dict[str, Subject] = {}
        for subject in SUBJECTS:
            path = asset_path(assets, subject)
            if path.is_file():
                self.assets[subject.name] = load_asset(path)
                self.subjects[subject.name] = subject
        if not self.assets:
            raise UserError(
                f"none of the world's assets is in {assets}; expected files such as "
                f"{SUBJECTS[0].file}.glb"
            )
        self._rest: dict[str, Placement] = {}

    def repertoire(self, held_out: bool = False) -> Repertoire:
        """Which clips show which action, per subject: those that are trained on, or, `held_out`,
        those that are not (about one in five, never an action's only one), where there are any."""
        out: Repertoire = {}
        for name, asset in self.assets.items():
            actions: dict[str, list[str]] = {}
            for clip in asset.clips:
                action = action_of(clip)
                if action is not None and clip.moves and clip.seconds > 0:
                    actions.setdefault(action, []).append(clip.name)
            split = {a: _split(name, clips) for a, clips in sorted(actions.items())}
            kept = {a: both[held_out] or both[False] for a, both in split.items()}
            fresh = {a: both[True] for a, both in split.items() if both[True]}
            out[name] = fresh if held_out and fresh else kept
        return out

    def clip(self, actor: Actor) -> Clip:
        return next(c for c in self.assets[actor.subject].clips if c.name == actor.clip)

    def rest(self, name: str) -> Placement:
        """Box centre on the ground and half the largest extent of a subject at rest, so that it
        has one size whatever it does."""
        if name not in self._rest:
            asset = self.assets[name]
            calm = [c for c in asset.clips if action_of(c) in ("idle", "swim", "walk", "drive")]
            clip = calm[0] if calm else asset.clips[0]
            baked = bake(asset, clip, np.array([clip.start]), placement=Placement((0, 0, 0), 1.0))
            points = np.concatenate([p.positions[0] for p in baked.parts])
            low, high = points.min(0), points.max(0)
            middle = (low + high) / 2
            foot = float(low[2]) if self.subjects[name].home == "ground" else float(middle[2])
            centre = (float(middle[0]), float(middle[1]), foot)
            self._rest[name] = Placement(centre, float((high - low).max()))
        return self._rest[name]

    def bake(self, actor: Actor) -> BakedAsset:
        """An actor in the world, at all times of its scene."""
        asset, clip = self.assets[actor.subject], self.clip(actor)
        length = min(clip.seconds, LONGEST)
        start, share = actor.stretch
        if clip.seconds > LONGEST:  # a part of a long clip
            seconds = start * (clip.seconds - length) + length * share * np.arange(TIMES) / TIMES
        else:  # once around, from anywhere
            seconds = (start * length + length * share * np.arange(TIMES) / TIMES) % clip.seconds
        baked = bake(asset, clip, clip.start + seconds, placement=self.rest(actor.subject))
        subject = self.subjects[actor.subject]
        a = actor.heading
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        ahead = turn @ np.array([0.0, -1.0, 0.0])
        height = HOVER if subject.home == "water" else 0.0
        along = actor.travel * (np.arange(TIMES) / (TIMES - 1) - 0.5)
        offset = np.array([*actor.place, height]) + along[:, None] * ahead
        turned = turn.T.astype(np.float32)
        parts = []
        for part in baked.parts:
            positions = part.positions @ turned * np.float32(actor.reach)
            positions += offset[:, None].astype(np.float32)
            normals = None if part.normals is None else part.normals @ turned
            material = dressed(part.material, subject, actor.coat, asset.materials)
            parts.append(replace(part, positions=positions, normals=normals, material=material))
        return BakedAsset(tuple(parts), baked.seconds, baked.placement)


def _split(subject: str, clips: list[str]) -> dict[bool, tuple[str, ...]]:
    """Clips of one action: {False: trained on, True: held out}."""
    by_draw = sorted(clips, key=lambda c: hashlib.sha256(f"{subject}/{c}".encode()).digest())
    count = len(clips) // 5 if len(clips) >= 5 else len(clips) // 3
    return {False: tuple(sorted(by_draw[count:])), True: tuple(sorted(by_draw[:count]))}


def luminance(rgb: Sequence[float]) -> float:
    """Of a linear colour."""
    return float(np.asarray(rgb) @ np.array([0.2126, 0.7152, 0.0722]))


def dressed(
    material: Material, subject: Subject, coat: str | None, all_materials: Sequence[Material]
) -> Material:
    """The material in the colours of a coat: the coat's colour, brighter or darker as the material
    was beside the brightest of those that are recoloured."""
    if coat is None or coat == subject.natural or not subject.coat_materials:
        return material
    if not re.fullmatch(subject.coat_materials, material.name):
        return material
    worn = [m for m in all_materials if re.fullmatch(subject.coat_materials, m.name)]
    most = max(luminance(m.colour[:3]) for m in worn)
    share = 0.45 + 0.55 * luminance(material.colour[:3]) / max(most, 1e-6)
    r, g, b = srgb_decode(np.array(COATS[coat])) * share
    return replace(material, colour=(float(r), float(g), float(b), material.colour[3]))


def together(cast: list[tuple[BakedAsset, dict[int, NDArray[np.uint8]]]]) -> tuple[
    BakedAsset, dict[int, NDArray[np.uint8]]
]:  # fmt: skip
    """Several baked assets and their pictures as one, with the pictures numbered anew."""
    parts: list[BakedPart] = []
    images: dict[int, NDArray[np.uint8]] = {}
    for baked, own in cast:
        number = {old: len(images) + i for i, old in enumerate(own)}
        images |= {number[old]: picture for old, picture in own.items()}
        for part in baked.parts:
            m = part.material
            colour, glow = m.colour_texture, m.emission_texture
            if colour is not None:
                m = replace(m, colour_texture=replace(colour, image=number[colour.image]))
            if glow is not None:
                m = replace(m, emission_texture=replace(glow, image=number[glow.image]))
            parts.append(replace(part, material=m))
    first = cast[0][0]
    return BakedAsset(tuple(parts), first.seconds, first.placement), images


def render_scene(
    context: Any,
    troupe: Troupe,
    scene: AssetScene,
    height: int,
    width: int,
    samples: int = 2,
    views: int = VIEWS,
    times: int = TIMES,
) -> NDArray[np.uint8]:
    """The first `times` times of a scene's cells: uint8 [V, T, H, W, 3]."""
    cast = [(troupe.bake(actor), troupe.assets[actor.subject].images) for actor in scene.actors]
    baked, images = together(cast)
    renderer = AssetRenderer(context, baked, images, (height, width), samples=samples)
    backdrop = Backdrop(context, scene, baked, samples)
    K, w2c = scene.intrinsics(height, width), scene.cameras(views)
    out = np.empty((views, times, height, width, 3), np.uint8)
    try:
        for t in range(times):
            renderer.set_time(t)
            backdrop.set_time(t)
            for v in range(views):
                picture = renderer.colours(w2c[v], K, behind=backdrop.draw)
                out[v, t] = (picture * 255 + 0.5).astype(np.uint8)
    finally:
        renderer.release()
        backdrop.release()
    return out
