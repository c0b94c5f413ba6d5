// What a point looks like: the programs that the GPU runs. Same image formation as the package's
// rasterizer: covariance through the perspective Jacobian, low-pass of 0.3 px^2, alpha = opacity
// exp(-d/2) capped at 0.999, cut at 1/255.

const VERTEX = `#version 300 es
precision highp float; precision highp int;
precision highp usampler2D; precision highp isampler2D;
uniform usampler2D uPoints, uOrder;
uniform isampler2D uOffsets, uSlopes, uTurns, uGains, uSheens;
uniform highp sampler2D uShapes; // covariance / radius^2 of points that are not round
uniform mat4 uView;             // world to camera: x right, y down, z forward
uniform mat3 uAxes;             // axes of the offsets, to camera
uniform bool uShaped;
uniform vec2 uFocal, uCentre, uSize;
uniform ivec3 uMoment;          // stored time before, stored time after, moving points
uniform int uChanging;
uniform vec4 uCurve;            // of an offset before, its slope, one after, its slope
uniform bool uCurved;
uniform float uTurn;            // step of a turn; 0: nothing turns
uniform vec3 uFrom;             // where one looks from, times the step of a sheen; 0: no matter
uniform bool uSheen;
uniform vec2 uGain;             // weight of the later time, gain step
uniform vec2 uStyle;            // 1: keep surfaces closed when closer than the input; view mode
uniform vec3 uRange;            // near and far depth, largest offset: for the false colours
flat out vec3 vConic;
flat out vec4 vColour;
out vec2 vDelta;

ivec2 texel(int i, int width) { return ivec2(i % width, i / width); }

vec3 valueAt(isampler2D values, int time, int i) {
  int width = textureSize(values, 0).x;
  return vec3(texelFetch(values, texel(time * uMoment.z + i, width), 0).xyz);
}

vec3 offsetOf(int i) {
  int before = uMoment.x, after = uMoment.y;
  vec3 offset = uCurve.x * valueAt(uOffsets, before, i) + uCurve.z * valueAt(uOffsets, after, i);
  if (uCurved)
    offset += uCurve.y * valueAt(uSlopes, before, i) + uCurve.w * valueAt(uSlopes, after, i);
  return offset;
}

// A direction in the axes that point i has turned on from; q is the quaternion (1, turn).
vec3 turnedBack(vec3 v, int i) {
  vec3 turn = uTurn * mix(valueAt(uTurns, uMoment.x, i), valueAt(uTurns, uMoment.y, i), uGain.x);
  return v + 2.0 / (1.0 + dot(turn, turn)) * cross(turn, cross(turn, v) - v);
}

vec2 gainAt(int time, int i) { // factors on colour and opacity
  int width = textureSize(uGains, 0).x;
  return 1.0 + vec2(texelFetch(uGains, texel(time * uChanging + i, width), 0).xy) * uGain.y;
}

vec3 ramp(float x) { // black, violet, red, orange, pale yellow
  vec3 c = mix(vec3(0.02, 0.02, 0.08), vec3(0.36, 0.09, 0.43), smoothstep(0.0, 0.3, x));
  c = mix(c, vec3(0.80, 0.22, 0.33), smoothstep(0.2, 0.55, x));
  c = mix(c, vec3(0.98, 0.60, 0.15), smoothstep(0.45, 0.8, x));
  return mix(c, vec3(0.99, 0.98, 0.70), smoothstep(0.7, 1.0, x));
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  int rank = gl_VertexID >> 2;
  int i = int(texelFetch(uOrder, texel(rank, textureSize(uOrder, 0).x), 0).x);
  int width = textureSize(uPoints, 0).x;
  uvec4 head = texelFetch(uPoints, texel(2 * i, width), 0);
  uvec4 tail = texelFetch(uPoints, texel(2 * i + 1, width), 0);
  vec3 offset = vec3(0.0);
  if (i < uMoment.z) offset = offsetOf(i);
  vec3 p = (uView * vec4(uintBitsToFloat(head.xyz), 1.0)).xyz + uAxes * offset;
  if (p.z < 0.01) return;

  vec4 colour = vec4(tail.x & 255u, (tail.x >> 8) & 255u, (tail.x >> 16) & 255u, tail.x >> 24)
    / 255.0;
  int slot = int(tail.z) - 1;
  if (slot >= 0)
    colour = clamp(colour * mix(gainAt(uMoment.x, slot), gainAt(uMoment.y, slot), uGain.x).xxxy,
                   0.0, 1.0);
  if (colour.a < 1.0 / 255.0) return;
  if (uSheen) {
    int wide = textureSize(uSheens, 0).x;
    for (int c = 0; c < 3; c++) {
      vec3 slope = vec3(texelFetch(uSheens, texel(3 * i + c, wide), 0).xyz);
      colour[c] = clamp(colour[c] * (1.0 + dot(slope, uFrom)), 0.0, 1.0);
    }
  }

  // Directions far outside the picture are clamped in the Jacobian, as gsplat does.
  vec2 ray = p.xy / p.z;
  vec2 margin = 0.15 * uSize / uFocal;
  vec2 clamped = clamp(ray, -uCentre / uFocal - margin, (uSize - uCentre) / uFocal + margin);
  vec2 jx = vec2(uFocal.x, -uFocal.x * clamped.x) / p.z;
  vec2 jy = vec2(uFocal.y, -uFocal.y * clamped.y) / p.z;
  float radius = uintBitsToFloat(head.w);
  float finer = uintBitsToFloat(tail.y) * uFocal.x / p.z;
  float lowpass = 0.3 * mix(1.0, max(1.0, finer * finer), uStyle.x);
  float variance = radius * radius;
  vec3 projected = vec3(dot(jx, jx), dot(jy, jy), jx.y * jy.y); // xx, yy, xy
  if (uShaped) {
    int wide = textureSize(uShapes, 0).x;
    vec4 s = texelFetch(uShapes, texel(2 * i, wide), 0);
    vec2 t = texelFetch(uShapes, texel(2 * i + 1, wide), 0).xy;
    mat3 shape = mat3(s.x, s.w, t.x, s.w, s.y, t.y, t.x, t.y, s.z);
    vec3 wx = vec3(jx.x, 0.0, jx.y) * mat3(uView), wy = vec3(0.0, jy) * mat3(uView);
    if (uTurn > 0.0 && i < uMoment.z) {
      wx = turnedBack(wx, i);
      wy = turnedBack(wy, i);
    }
    projected = vec3(dot(wx, shape * wx), dot(wy, shape * wy), dot(wx, shape * wy));
  }
  float xx = variance * projected.x + lowpass;
  float yy = variance * projected.y + lowpass;
  float xy = variance * projected.z;
  float determinant = xx * yy - xy * xy;
  vConic = vec3(yy, -xy, xx) / determinant;

  float reach = sqrt(2.0 * log(255.0 * colour.a));
  vec2 extent = reach * sqrt(vec2(xx, yy)) + 0.01;
  vec2 pixel = uFocal * ray + uCentre;
  if (any(lessThan(pixel + extent, vec2(0.0))) || any(greaterThan(pixel - extent, uSize))) return;
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0;
  vDelta = corner * extent;
  vec2 ndc = (pixel + vDelta) / uSize * 2.0 - 1.0;
  gl_Position = vec4(ndc.x, -ndc.y, 0.0, 1.0);

  if (uStyle.y == 1.0) {
    float depth = log(p.z / uRange.x) / log(uRange.y / uRange.x);
    colour.rgb = ramp(1.0 - clamp(depth, 0.0, 1.0));
  } else if (uStyle.y == 2.0) {
    float grey = dot(colour.rgb, vec3(0.3, 0.6, 0.1));
    float motion = sqrt(length(offset) / max(uRange.z, 1e-9));
    colour.rgb = mix(vec3(0.25 * grey), ramp(motion), min(1.0, 4.0 * motion));
  }
  vColour = colour;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 vConic;
flat in vec4 vColour;
in vec2 vDelta;
out vec4 colour;
void main() {
  float d = vConic.x * vDelta.x * vDelta.x + vConic.z * vDelta.y * vDelta.y
    + 2.0 * vConic.y * vDelta.x * vDelta.y;
  float alpha = min(0.999, vColour.a * exp(-0.5 * d));
  if (alpha < 1.0 / 255.0) discard;
  colour = vec4(vColour.rgb * alpha, alpha);
}`;

// The picture is blended in half floats (many faint layers would round away in 8 bits) and
// copied to the screen once.
const COPY_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;
const COPY_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D uPicture;
out vec4 colour;
void main() { colour = vec4(texelFetch(uPicture, ivec2(gl_FragCoord.xy), 0).rgb, 1.0); }`;
