"""GLSL of the asset renderer: pin-hole projection, studio light, alpha modes, depth.

The vertex shader maps OpenCV camera coordinates to clip space so that image row 0 is the first row
of the frame buffer. Light is fixed to the world, so all viewpoints see the same shading.
"""

VERTEX = """
#version 330
uniform mat4 camera;
uniform vec4 lens;   // fx, fy, cx, cy in pixels
uniform vec2 size;   // width, height in pixels
uniform vec2 range;  // near, far
in vec3 position;
in vec3 normal;
in vec4 tint;
in vec2 colour_uv;
in vec2 emission_uv;
out vec3 world;
out vec3 direction;
out vec4 vertex_tint;
out vec2 uv_colour;
out vec2 uv_emission;
out float z;
void main() {
    vec3 p = (camera * vec4(position, 1.0)).xyz;
    float n = range.x, f = range.y;
    gl_Position = vec4(
        2.0 * (lens.x * p.x + lens.z * p.z) / size.x - p.z,
        2.0 * (lens.y * p.y + lens.w * p.z) / size.y - p.z,
        (p.z * (f + n) - 2.0 * f * n) / (f - n),
        p.z);
    world = position;
    direction = normal;
    vertex_tint = tint;
    uv_colour = colour_uv;
    uv_emission = emission_uv;
    z = p.z;
}
"""

_SURFACE = """
#version 330
uniform sampler2D colour_map;
uniform ivec2 colour_map_mirror;
uniform vec4 factor;
uniform int alpha_mode;  // 0 opaque, 1 mask, 2 blend
uniform float cutoff;
in vec4 vertex_tint;
in vec2 uv_colour;

vec2 folded(vec2 uv, ivec2 mirror) {  // mirrored repetition
    vec2 m = 1.0 - abs(mod(uv, 2.0) - 1.0);
    return vec2(mirror.x == 1 ? m.x : uv.x, mirror.y == 1 ? m.y : uv.y);
}

vec4 base_colour() {
    vec4 c = factor * vertex_tint * texture(colour_map, folded(uv_colour, colour_map_mirror));
    if (alpha_mode == 1 && c.a < cutoff) discard;
    return vec4(c.rgb, alpha_mode == 2 ? c.a : 1.0);
}
"""

FRAGMENT_COLOUR = (
    _SURFACE
    + """
uniform sampler2D emission_map;
uniform ivec2 emission_map_mirror;
uniform vec3 emission;
uniform bool unlit;
uniform bool flat_shading;
uniform vec3 eye;
in vec3 world;
in vec3 direction;
in vec2 uv_emission;
out vec4 result;

vec3 facing_normal() {
    vec3 n = flat_shading ? cross(dFdx(world), dFdy(world)) : direction;
    n = length(n) > 0.0 ? normalize(n) : vec3(0.0, 0.0, 1.0);
    bool turn = flat_shading ? dot(n, eye - world) < 0.0 : !gl_FrontFacing;
    return turn ? -n : n;
}

void main() {
    vec4 c = base_colour();
    vec3 light = vec3(1.0);
    if (!unlit) {
        vec3 n = facing_normal();
        float key = max(dot(n, normalize(vec3(-0.45, -0.65, 0.75))), 0.0);
        float fill = max(dot(n, normalize(vec3(0.85, -0.25, 0.25))), 0.0);
        light = vec3(mix(0.22, 0.42, 0.5 + 0.5 * n.z) + 0.62 * key + 0.14 * fill);
    }
    vec3 glow = emission * texture(emission_map, folded(uv_emission, emission_map_mirror)).rgb;
    result = vec4((c.rgb * light + glow) * c.a, c.a);
}
"""
)

FRAGMENT_DEPTH = (
    _SURFACE
    + """
in float z;
out float result;
void main() {
    if (base_colour().a < 0.5) discard;
    result = z;
}
"""
)
