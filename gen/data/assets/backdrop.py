"""Ground, walls, sky and soft shadows behind the assets of a scene, drawn per pixel with OpenGL.

Ground patterns and skies are those of the procedural world (`gen.data.world.floor`), with sand,
snow and a few more for walls. The shadow on the ground is the assets' own outline along the light,
blurred: one small picture per time, shared by all viewpoints.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gen.data.assets.bake import BakedAsset
from gen.data.assets.render import set_uniform
from gen.data.assets.scenes import GROUNDS, AssetScene, Surface, skies

LIGHT = (-0.45, -0.65, 0.75)  # towards the key light of the asset shaders
SHADOW_SIDE, SHADOW_REACH = 256, 3.0  # pixels, and world units from the centre to the border

VERTEX = """
#version 330
void main() {
    vec2 p = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
    gl_Position = vec4(p * 2.0 - 1.0, 1.0, 1.0);
}
"""

FRAGMENT = """
#version 330
uniform mat3 turn;      // world-to-camera rotation
uniform vec3 eye;
uniform vec4 lens;      // fx, fy, cx, cy in pixels of the picture
uniform float samples;  // colour samples per pixel and axis
uniform bool is_blank;
uniform vec3 blank;
uniform ivec2 kinds;    // pattern of the ground and of the wall, -1: none
uniform vec3 light0, dark0, light1, dark1;
uniform vec3 place0, place1;  // cell, shift x, shift y
uniform vec2 room;      // half width and height of the walls
uniform vec3 horizon, zenith;
uniform float darkness, reach;
uniform sampler2D shadow;
out vec4 result;

float hash(vec2 p) { return fract(sin(dot(p, vec2(127.1, 311.7))) * 43758.5453); }
float smooth_noise(vec2 p) {
    vec2 i = floor(p), f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    return mix(mix(hash(i), hash(i + vec2(1, 0)), f.x),
               mix(hash(i + vec2(0, 1)), hash(i + vec2(1, 1)), f.x), f.y);
}
float clouds(vec2 p) {
    return 0.55 * smooth_noise(p) + 0.3 * smooth_noise(2.3 * p + 7.0)
        + 0.15 * smooth_noise(5.1 * p + 3.0);
}
float square(float wave, float sharp) { return 0.5 + 0.5 * clamp(wave * sharp, -1.0, 1.0); }

float pattern(int kind, vec2 p, float cell, float footprint) {
    const float PI = 3.14159265;
    float k = PI / cell, sharp = clamp(cell / (PI * footprint), 1.0, 12.0);
    if (kind == 1) return square(sin(k * p.x) * sin(k * p.y), sharp);
    if (kind == 2) {
        float size = 0.47 * cell, board = floor(p.x / size);
        float grain = 0.14 * sin((22.0 * p.x + 2.5 * sin(2.2 * p.y + board)) * 0.9 / cell);
        bool gap = abs(p.x / size - board - 0.5) > 0.45;
        return gap ? 0.0 : 0.5 + 0.28 * sin(board * 12.9) + grain;
    }
    if (kind == 3) {
        vec2 q = p * 0.9 / cell;
        float waves = sin(6.0 * q.x + 2.0 * sin(3.0 * q.y)) + sin(7.0 * q.y + 2.0 * sin(4.0 * q.x));
        return 0.5 + 0.25 * waves;
    }
    if (kind == 4) {
        vec2 q = p * 0.9 / cell;
        return 0.5 + 0.3 * sin(9.0 * q.y + 2.0 * sin(1.7 * q.x)) + 0.3 * (clouds(3.0 * q) - 0.5);
    }
    if (kind == 5) return 0.75 + 0.5 * (clouds(1.6 * p / cell) - 0.5);
    if (kind == 6) return square(sin(1.25 * k * (p.x + 0.25 * p.y)), sharp);
    if (kind == 7) {
        vec2 q = p / (0.94 * cell);
        return square(length(q - round(q)) - 0.29, 3.0 * sharp);
    }
    if (kind == 8) return clouds(3.0 * p / cell);
    if (kind == 9) {
        float row = floor(p.y / (0.4 * cell));
        vec2 q = vec2(p.x / (0.9 * cell) + 0.5 * mod(row, 2.0), p.y / (0.4 * cell));
        vec2 f = fract(q);
        if (f.x < 0.06 || f.y < 0.1) return 0.0;
        return 0.55 + 0.45 * hash(floor(q));
    }
    return 0.5;
}

vec3 linear(vec3 c) {
    c = clamp(c, 0.0, 1.0);
    return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c));
}

void main() {
    if (is_blank) { result = vec4(linear(blank), 1.0); return; }
    vec2 px = gl_FragCoord.xy / samples;
    vec3 d = vec3((px.x - lens.z) / lens.x, (px.y - lens.w) / lens.y, 1.0) * turn;
    float to_ground = d.z < -1e-6 ? -eye.z / d.z : 1e9;
    vec3 c = mix(horizon, zenith, clamp(d.z / (0.45 * length(d.xy)), 0.0, 1.0));
    bool near_wall = false;
    if (kinds.y >= 0) {
        vec2 t = (sign(d.xy) * room.x - eye.xy) / d.xy;
        float to_wall = min(t.x > 0.0 ? t.x : 1e9, t.y > 0.0 ? t.y : 1e9);
        vec3 w = eye + to_wall * d;
        if (to_wall < to_ground && w.z < room.y) {
            vec2 p = vec2(t.x < t.y ? w.y : w.x, w.z);
            float foot = to_wall / lens.x;
            float tone = pattern(kinds.y, p + place1.yz, place1.x, foot);
            float fade = clamp(2.0 - 2.0 * foot / place1.x, 0.0, 1.0);
            c = mix(dark1, light1, 0.5 + (tone - 0.5) * fade);
            c *= t.x < t.y ? 0.8 : 0.95;
            near_wall = true;
        }
    }
    float lit = 1.0;
    if (!near_wall && to_ground < 14.0) {
        vec3 g = eye + to_ground * d;
        float foot = to_ground * to_ground / (lens.y * eye.z);
        float fade = clamp(2.0 - 2.0 * foot / place0.x, 0.0, 1.0);
        float tone = pattern(kinds.x, g.xy + place0.yz, place0.x, foot);
        float mottle = sin(5.0 * g.x + 1.3 * sin(2.3 * g.y)) * sin(4.1 * g.y + 1.0);
        vec3 floor_colour = mix(dark0, light0, 0.5 + (tone - 0.5) * fade) + 0.03 * mottle * fade;
        float far = clamp((to_ground - 6.0) / 7.5, 0.0, 1.0);
        far = kinds.y >= 0 ? 0.0 : far * far * (3.0 - 2.0 * far);
        c = mix(floor_colour, horizon, far);
        lit = 1.0 - darkness * texture(shadow, 0.5 + 0.5 * g.xy / reach).r;
    }
    result = vec4(linear(c) * lit, 1.0);
}
"""


def shadow_picture(baked: BakedAsset, t: int, blur: float = 0.05) -> NDArray:
    """The shadow on the ground at time number `t`, uint8 [side, side], 255 where it is dark.

    Columns are x and rows y from -SHADOW_REACH to SHADOW_REACH; blur in world units.
    """
    picture = np.zeros((SHADOW_SIDE, SHADOW_SIDE), np.uint8)
    scale = SHADOW_SIDE / (2 * SHADOW_REACH)
    for part in baked.parts:
        p = part.positions[t]
        flat = p[:, :2] - p[:, 2:] * (np.array(LIGHT[:2], np.float32) / LIGHT[2])
        corners = ((flat + SHADOW_REACH) * scale * 8).astype(np.int32)[part.triangles]
        for triangle in np.clip(corners, -(1 << 14), 1 << 14):
            cv2.fillConvexPoly(picture, triangle, 255, shift=3)
    return cv2.GaussianBlur(picture, (0, 0), max(blur * scale, 0.5))


class Backdrop:
    """Draws what is behind the assets of one scene; `draw` fills the bound frame buffer."""

    def __init__(self, context: Any, scene: AssetScene, baked: BakedAsset, samples: int) -> None:
        self._context = context
        self._program = context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._array = context.vertex_array(self._program, [])
        self._shadow = context.texture((SHADOW_SIDE, SHADOW_SIDE), 1)
        self._shadow.repeat_x = self._shadow.repeat_y = False
        self._baked = baked
        set_uniform(self._program, "samples", float(samples))
        set_uniform(self._program, "is_blank", scene.blank is not None)
        set_uniform(self._program, "blank", scene.blank or (0.0, 0.0, 0.0))
        wall = scene.wall
        kinds = GROUNDS.index(scene.ground.kind), -1 if wall is None else GROUNDS.index(wall.kind)
        set_uniform(self._program, "kinds", kinds)
        for i, surface in enumerate((scene.ground, wall or scene.ground)):
            self._set_surface(i, surface)
        set_uniform(self._program, "room", scene.room)
        horizon, zenith = skies(scene.light)
        set_uniform(self._program, "horizon", horizon)
        set_uniform(self._program, "zenith", zenith)
        set_uniform(self._program, "darkness", scene.shadow)
        set_uniform(self._program, "reach", SHADOW_REACH)

    def _set_surface(self, i: int, surface: Surface) -> None:
        set_uniform(self._program, f"light{i}", surface.light)
        set_uniform(self._program, f"dark{i}", surface.dark)
        set_uniform(self._program, f"place{i}", (surface.cell, *surface.shift))

    def set_time(self, t: int) -> None:
        """Lay the shadow of time number `t`."""
        self._shadow.write(np.ascontiguousarray(shadow_picture(self._baked, t)).tobytes())

    def draw(self, w2c: NDArray, K: NDArray) -> None:
        """Cover the frame buffer as seen from a camera."""
        program = self._program
        set_uniform(program, "turn", np.asarray(w2c[:3, :3], np.float32).T.tobytes())
        set_uniform(program, "eye", tuple(-w2c[:3, :3].T @ w2c[:3, 3]))
        set_uniform(program, "lens", (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        self._shadow.use(0)
        set_uniform(program, "shadow", 0)
        self._context.disable(self._context.DEPTH_TEST | self._context.BLEND)
        self._context.disable(self._context.CULL_FACE)
        self._array.render(vertices=3)

    def release(self) -> None:
        for item in (self._array, self._program, self._shadow):
            item.release()
