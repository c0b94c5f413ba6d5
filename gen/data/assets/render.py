"""Draws a baked asset with OpenGL: colours with soft studio light, and exact depth.

The image is drawn upside down on purpose: row 0 of the frame buffer is the top row of the picture,
so nothing is flipped when it is read, and front faces appear clockwise. Colours are linear until
the end, where supersampled pixels are averaged and encoded as sRGB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen.data.assets.bake import BakedAsset, BakedPart
from gen.data.assets.shaders import FRAGMENT_COLOUR, FRAGMENT_DEPTH, VERTEX
from gen.data.gltf.materials import MIRROR, REPEAT, Texture

DEPTH_SAMPLES = 3  # odd: one of them lies at the pixel's centre
_SRGB8_ALPHA8 = 0x8C43


def srgb_encode(linear: NDArray) -> NDArray:
    """Linear 0..1 to sRGB 0..1 (IEC 61966-2-1)."""
    c = np.clip(linear, 0, 1)
    return np.where(c <= 0.0031308, 12.92 * c, 1.055 * np.power(c, 1 / 2.4) - 0.055)


def srgb_decode(encoded: NDArray) -> NDArray:
    """sRGB 0..1 to linear 0..1."""
    c = np.clip(encoded, 0, 1)
    return np.where(c <= 0.04045, c / 12.92, np.power((c + 0.055) / 1.055, 2.4))


def at_pixel_centres(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a map with `DEPTH_SAMPLES` values per pixel and axis, those at the pixel centres."""
    middle = DEPTH_SAMPLES // 2
    return np.ascontiguousarray(fine[middle::DEPTH_SAMPLES, middle::DEPTH_SAMPLES])


class AssetRenderer:
    """Holds one asset on the graphics device and draws it from any camera.

    Args:
        context: a moderngl context (`gen.data.assets.context.open_context`).
        images: the asset's pictures by number, RGBA uint8.
        size: (height, width) of the frames.
        samples: colour samples per pixel along each axis.
        background: sRGB 0..1.
        cull: hide the back faces of single-sided materials as glTF says; when False both faces of
            all surfaces show, as in Blender's renders.
    """

    def __init__(
        self,
        context: Any,
        baked: BakedAsset,
        images: dict[int, NDArray[np.uint8]],
        size: tuple[int, int],
        *,
        samples: int = 3,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        cull: bool = False,
    ) -> None:
        self._context, self._size, self._samples, self._cull = context, size, samples, cull
        self._background = tuple(float(c) for c in srgb_decode(np.array(background)))
        height, width = size
        fine = (width * samples, height * samples)
        self._colour = context.framebuffer(
            [context.texture(fine, 4, dtype="f2")], context.depth_renderbuffer(fine)
        )
        dense = (width * DEPTH_SAMPLES, height * DEPTH_SAMPLES)
        self._depth = context.framebuffer(
            [context.texture(dense, 1, dtype="f4")], context.depth_renderbuffer(dense)
        )
        self._programs = [
            context.program(vertex_shader=VERTEX, fragment_shader=fragment)
            for fragment in (FRAGMENT_COLOUR, FRAGMENT_DEPTH)
        ]
        blank = np.full((1, 1, 4), 255, np.uint8)
        self._blank = self._upload(blank)
        self._pictures = {number: self._upload(image) for number, image in images.items()}
        self._parts = [_Part(context, self._programs, p) for p in baked.parts]
        self._solid = [p for p in self._parts if p.material.alpha_mode != "BLEND"]
        self._glassy = [p for p in self._parts if p.material.alpha_mode == "BLEND"]
        context.front_face = "cw"

    def _upload(self, image: NDArray[np.uint8]) -> Any:
        size = (image.shape[1], image.shape[0])
        data = np.ascontiguousarray(image).tobytes()
        texture = self._context.texture(size, 4, data, internal_format=_SRGB8_ALPHA8)
        texture.build_mipmaps()
        texture.anisotropy = 8.0
        return texture

    def set_time(self, t: int) -> None:
        """Put every part where it is at time number `t`."""
        for part in self._parts:
            part.set_time(t)

    def colours(
        self, w2c: NDArray, K: NDArray, behind: Callable[[NDArray, NDArray], None] | None = None
    ) -> NDArray[np.float32]:
        """The picture [H, W, 3], sRGB 0..1, from a camera with intrinsics for the frame size.

        behind: draws (w2c, K) what stands behind the asset, instead of the plain background.
        """
        self._colour.use()
        self._colour.clear(*self._background, 1.0, depth=1.0)
        if behind is not None:
            behind(w2c, K)
        self._draw(0, w2c, K)
        height, width = self._size
        n = self._samples
        raw = np.frombuffer(self._colour.read(components=4, dtype="f2"), np.float16)
        fine = raw.reshape(height, n, width, n, 4)[..., :3].astype(np.float32)
        return srgb_encode(np.clip(fine, 0, 1).mean((1, 3))).astype(np.float32)

    def depth(self, w2c: NDArray, K: NDArray) -> NDArray[np.float32]:
        """z [H, W] at the pixel centres in the camera's frame; inf where nothing is.

        Surfaces that are less than half opaque do not count.
        """
        return at_pixel_centres(self.fine_depth(w2c, K))

    def fine_depth(self, w2c: NDArray, K: NDArray) -> NDArray[np.float32]:
        """The same with `DEPTH_SAMPLES` per pixel along each axis: [H * n, W * n]."""
        self._depth.use()
        self._depth.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        self._draw(1, w2c, K)
        raw = np.frombuffer(self._depth.read(components=1, dtype="f4"), np.float32)
        z = raw.reshape(self._size[0] * DEPTH_SAMPLES, self._size[1] * DEPTH_SAMPLES)
        return np.where(z > 0, z, np.inf).astype(np.float32)

    def _draw(self, which: int, w2c: NDArray, K: NDArray) -> None:
        context, program = self._context, self._programs[which]
        height, width = self._size
        distance = float(np.linalg.norm(w2c[:3, 3]))
        set_uniform(program, "camera", np.asarray(w2c, np.float32).T.tobytes())
        set_uniform(program, "lens", (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        set_uniform(program, "size", (float(width), float(height)))
        set_uniform(program, "range", (max(distance - 1.5, 0.02), distance + 1.5))
        set_uniform(program, "eye", tuple(-w2c[:3, :3].T @ w2c[:3, 3]))
        context.enable_only(context.DEPTH_TEST)
        self._glassy.sort(key=lambda part: -part.distance(w2c))
        for part in (*self._solid, *self._glassy):
            material = part.material
            blend = material.alpha_mode == "BLEND" and which == 0
            if blend:
                part.sort(w2c)
                context.enable(context.BLEND)
                context.blend_func = context.ONE, context.ONE_MINUS_SRC_ALPHA
            if self._cull and not material.double_sided:
                context.enable(context.CULL_FACE)
            else:
                context.disable(context.CULL_FACE)
            target = self._colour if which == 0 else self._depth
            target.depth_mask = not blend
            mode = {"OPAQUE": 0, "MASK": 1, "BLEND": 2}[material.alpha_mode]
            set_uniform(program, "alpha_mode", mode)
            set_uniform(program, "cutoff", material.alpha_cutoff)
            set_uniform(program, "factor", material.colour)
            set_uniform(program, "emission", material.emission)
            set_uniform(program, "unlit", material.unlit)
            set_uniform(program, "flat_shading", part.flat)
            self._bind(program, "colour_map", 0, part.colour_texture)
            self._bind(program, "emission_map", 1, part.emission_texture)
            part.arrays[which].render()
            target.depth_mask = True

    def _bind(self, program: Any, name: str, unit: int, texture: Texture | None) -> None:
        """Bind a texture (plain white when there is none) with its sampler settings."""
        picture = self._blank if texture is None else self._pictures[texture.image]
        mirror = (0, 0)
        if texture is not None:
            smooth = self._context.LINEAR
            picture.filter = (
                self._context.LINEAR_MIPMAP_LINEAR,
                self._context.NEAREST if texture.nearest else smooth,
            )
            picture.repeat_x, picture.repeat_y = (w in (REPEAT, MIRROR) for w in texture.wrap)
            mirror = (int(texture.wrap[0] == MIRROR), int(texture.wrap[1] == MIRROR))
        picture.use(unit)
        set_uniform(program, name, unit)
        set_uniform(program, f"{name}_mirror", mirror)

    def release(self) -> None:
        """Give back the memory on the device."""
        for part in self._parts:
            part.release()
        for item in (*self._pictures.values(), self._blank, *self._programs):
            item.release()
        for target in (self._colour, self._depth):
            for attachment in (*target.color_attachments, target.depth_attachment, target):
                attachment.release()


def set_uniform(program: Any, name: str, value: Any) -> None:
    """Set a uniform, unless the program's compiler found no use for it."""
    if name in program:
        if isinstance(value, bytes):
            program[name].write(value)
        else:
            program[name].value = value


class _Part:
    """The buffers of one baked part; `arrays` holds its vertex array for each program."""

    def __init__(self, context: Any, programs: list[Any], baked: BakedPart) -> None:
        primitive, count = baked.primitive, baked.positions.shape[1]
        self.material, self.flat = baked.material, baked.normals is None
        has = primitive.colour_uv is not None, primitive.emission_uv is not None
        self.colour_texture = self.material.colour_texture if has[0] else None
        self.emission_texture = self.material.emission_texture if has[1] else None
        self._baked, self._time = baked, 0
        zeros2 = np.zeros((count, 2), np.float32)
        white = np.ones((count, 4), np.float32)
        still = {
            "tint": (primitive.colours, white, "4f"),
            "colour_uv": (primitive.colour_uv, zeros2, "2f"),
            "emission_uv": (primitive.emission_uv, zeros2, "2f"),
        }
        self._buffers: dict[str, tuple[Any, str]] = {
            name: (context.buffer(_bytes(fallback if values is None else values)), layout)
            for name, (values, fallback, layout) in still.items()
        }
        for name in ("position", "normal"):
            self._buffers[name] = (context.buffer(reserve=count * 12, dynamic=True), "3f")
        self._corners = context.buffer(_bytes(baked.triangles.astype(np.int32)))
        self.arrays = [
            context.vertex_array(
                program,
                [
                    (b, layout, name)
                    for name, (b, layout) in self._buffers.items()
                    if name in program
                ],
                self._corners,
            )
            for program in programs
        ]

    def set_time(self, t: int) -> None:
        self._time = t
        positions, normals = self._baked.positions[t], self._baked.normals
        self._buffers["position"][0].write(_bytes(positions))
        if normals is not None:
            self._buffers["normal"][0].write(_bytes(normals[t]))

    def distance(self, w2c: NDArray) -> float:
        """Mean depth of the vertices, up to a constant."""
        return float(self._baked.positions[self._time].mean(0) @ w2c[2, :3])

    def sort(self, w2c: NDArray) -> None:
        """Order the triangles from far to near, as see-through surfaces must be drawn."""
        z = self._baked.positions[self._time] @ np.asarray(w2c[2, :3], np.float32)
        order = np.argsort(-z[self._baked.triangles].sum(1), kind="stable")
        self._corners.write(_bytes(self._baked.triangles[order].astype(np.int32)))

    def release(self) -> None:
        for item in (*self.arrays, *(b for b, _ in self._buffers.values()), self._corners):
            item.release()


def _bytes(values: NDArray) -> bytes:
    return np.ascontiguousarray(values).tobytes()
