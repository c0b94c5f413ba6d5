"""Materials and their pictures: what decides the colour and opacity of a surface.

Read: base colour factor and texture, alpha mode, double-sidedness, emission, vertex colours' unlit
switch, texture transforms and samplers. Left out, because they only change how light plays on the
surface: metalness, roughness, normal and occlusion maps, clear coat and the like.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen.data.gltf.container import Document, resolve_uri
from gen.data.gltf.fields import (
    Json,
    MalformedGltf,
    boolean,
    choice,
    index,
    integer,
    number,
    numbers,
    sub_object,
    text,
)

MAX_TEXTURE_SIDE = 2048  # larger pictures are reduced to this
MAX_PICTURE_PIXELS = 2**26
NEAREST, REPEAT, CLAMP, MIRROR = 9728, 10497, 33071, 33648


@dataclass(frozen=True)
class Texture:
    """A picture on a surface.

    Attributes:
        image: number of the picture in the asset's `images`.
        uv_set: which TEXCOORD_n of the vertices it uses.
        uv_matrix: float64 [2, 3], applied to (u, v, 1) (KHR_texture_transform).
        wrap: (along u, along v), each REPEAT, CLAMP or MIRROR.
        nearest: no smoothing when magnified.
    """

    image: int
    uv_set: int
    uv_matrix: NDArray[np.float64]
    wrap: tuple[int, int]
    nearest: bool


@dataclass(frozen=True)
class Material:
    """Base colour and emission are linear RGB(A) factors, textures multiply them."""

    name: str = "default"
    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    colour_texture: Texture | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emission_texture: Texture | None = None
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False
    unlit: bool = False


def read_materials(document: Document) -> list[Material]:
    """The materials of a document, in file order."""
    return [
        _material(document, entry, f"materials[{i}]")
        for i, entry in enumerate(document.list_of("materials"))
    ]


def _material(document: Document, entry: Json, where: str) -> Material:
    extensions = sub_object(entry, "extensions", where)
    surface = sub_object(entry, "pbrMetallicRoughness", where)
    factor_key, texture_key = "baseColorFactor", "baseColorTexture"
    if "KHR_materials_pbrSpecularGlossiness" in extensions:
        surface = sub_object(extensions, "KHR_materials_pbrSpecularGlossiness", where)
        factor_key, texture_key = "diffuseFactor", "diffuseTexture"
    colour = numbers(surface, factor_key, where, 4, [1.0] * 4) or []
    emission = numbers(entry, "emissiveFactor", where, 3, [0.0] * 3) or []
    strength = sub_object(extensions, "KHR_materials_emissive_strength", where)
    gain = number(strength, "emissiveStrength", where, 1.0)
    r, g, b, a = (min(max(c, 0.0), 1.0) for c in colour)
    er, eg, eb = (min(max(c, 0.0) * gain, 100.0) for c in emission)
    return Material(
        name=text(entry, "name", where) or where,
        colour=(r, g, b, a),
        colour_texture=_texture(document, surface, texture_key, where),
        emission=(er, eg, eb),
        emission_texture=_texture(document, entry, "emissiveTexture", where),
        alpha_mode=choice(entry, "alphaMode", where, ("OPAQUE", "MASK", "BLEND"), "OPAQUE"),
        alpha_cutoff=number(entry, "alphaCutoff", where, 0.5),
        double_sided=boolean(entry, "doubleSided", where),
        unlit="KHR_materials_unlit" in extensions,
    )


def _texture(document: Document, parent: Json, key: str, where: str) -> Texture | None:
    if key not in parent:
        return None
    where = f"{where}.{key}"
    info = sub_object(parent, key, where)
    textures, samplers = document.list_of("textures"), document.list_of("samplers")
    entry = textures[index(info, "index", len(textures), where)]
    webp = sub_object(sub_object(entry, "extensions", where), "EXT_texture_webp", where)
    pictures = len(document.list_of("images"))
    source = index(webp, "source", pictures, where, None)
    if source is None:
        source = index(entry, "source", pictures, where, None)
    if source is None:
        return None  # a picture of an unknown extension
    sampler = {}
    if (chosen := index(entry, "sampler", len(samplers), where, None)) is not None:
        sampler = samplers[chosen]
    wraps = (REPEAT, CLAMP, MIRROR)
    change = sub_object(sub_object(info, "extensions", where), "KHR_texture_transform", where)
    uv_set = integer(info, "texCoord", where, 0, high=15)
    return Texture(
        image=source,
        uv_set=integer(change, "texCoord", where, uv_set, high=15),
        uv_matrix=_uv_matrix(change, where),
        wrap=(
            choice(sampler, "wrapS", where, wraps, REPEAT),
            choice(sampler, "wrapT", where, wraps, REPEAT),
        ),
        nearest=integer(sampler, "magFilter", where, 0) == NEAREST,
    )


def _uv_matrix(change: Json, where: str) -> NDArray[np.float64]:
    """Translation * rotation * scale of KHR_texture_transform, the identity when absent."""
    shift = numbers(change, "offset", where, 2, [0.0, 0.0]) or []
    scale = numbers(change, "scale", where, 2, [1.0, 1.0]) or []
    angle = number(change, "rotation", where, 0.0)
    c, s = np.cos(angle), np.sin(angle)
    # The extension turns counter-clockwise in a frame whose v points down.
    turn = np.array([[c, s], [-s, c]])
    return np.concatenate([turn * np.array(scale), np.array(shift)[:, None]], axis=1)


def read_image(document: Document, which: int) -> NDArray[np.uint8]:
    """Picture `which` as RGBA [H, W, 4], sides at most `MAX_TEXTURE_SIDE`."""
    from PIL import Image

    entry, where = document.list_of("images")[which], f"images[{which}]"
    if "uri" in entry:
        data = resolve_uri(text(entry, "uri", where), document.folder)
    else:
        data = bytes(document.view(integer(entry, "bufferView", where)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning: we check the size
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
                if picture.width * picture.height > MAX_PICTURE_PIXELS:
                    raise MalformedGltf(f"{where} is {picture.width}x{picture.height}: too large")
                if max(picture.size) > MAX_TEXTURE_SIDE:
                    picture.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE))
                return np.asarray(picture.convert("RGBA"))
    except MalformedGltf:
        raise
    except Exception as error:  # decoders of damaged pictures raise all kinds
        raise MalformedGltf(f"{where} cannot be decoded ({str(error)[:80]})") from error
