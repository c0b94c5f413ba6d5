// The free camera: a position and three axes (right, down, forward), a distance to the point it
// orbits around, a zoom. The goal moves at once, what is shown follows it smoothly.

const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
];
const length = (a) => Math.hypot(...a);
const unit = (a) => a.map((x) => x / (length(a) || 1));
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

function rotated(v, axis, angle) { // Rodrigues
  const c = Math.cos(angle), s = Math.sin(angle), k = dot(axis, v) * (1 - c);
  const n = cross(axis, v);
  return v.map((x, i) => x * c + n[i] * s + axis[i] * k);
}

// Turn axes a towards axes b by the share f of the angle between them.
function turned(a, b, f) {
  const relative = (i, j) => a.reduce((sum, row, r) => sum + b[r][i] * row[j], 0); // b^T a
  const axis = [
    relative(2, 1) - relative(1, 2), relative(0, 2) - relative(2, 0),
    relative(1, 0) - relative(0, 1),
  ];
  const trace = relative(0, 0) + relative(1, 1) + relative(2, 2);
  const angle = Math.atan2(length(axis), trace - 1);
  if (angle < 1e-7) return b;
  if (length(axis) < 1e-6) return f < 0.5 ? a : b; // half a turn: no axis to turn about
  const turn = a.map((row) => rotated(row, unit(axis), angle * f));
  const forward = unit(turn[2]);
  const right = unit(cross(turn[1], forward));
  return [right, cross(forward, right), forward];
}

class FreeCamera {
  constructor(info) {
    this.info = info;
    this.size = [info.size[1], info.size[0]]; // width, height of the input pictures
    this.views = info.cameras.map(({ K, w2c }) => {
      const axes = [0, 4, 8].map((r) => w2c.slice(r, r + 3));
      const t = [w2c[3], w2c[7], w2c[11]];
      const position = [0, 1, 2].map((i) => -(axes[0][i] * t[0] + axes[1][i] * t[1] +
        axes[2][i] * t[2]));
      const depth = dot(axes[2], add(info.subject, position, -1));
      return { axes, position, distance: depth > 0.05 ? depth : 1, zoom: 1, K };
    });
    this.up = unit(this.views.reduce((sum, v) => add(sum, v.axes[1], -1), [0, 0, 0]));
    this.K = this.views[0].K;
    this.goal = this.copy(this.views[0]);
    this.shown = this.copy(this.views[0]);
    this.pace = 14;
  }

  copy({ axes, position, distance, zoom }) {
    return { axes: axes.map((a) => [...a]), position: [...position], distance, zoom };
  }

  // Go to input view k; smoothly unless at once.
  toView(k, atOnce) {
    const view = this.views[clamp(k, 0, this.views.length - 1)];
    this.goal = this.copy(view);
    this.K = view.K;
    this.pace = 5;
    if (atOnce) this.shown = this.copy(view);
  }

  // A place on the way through the input views, s in 0..views-1; for one view, a small circle.
  toPath(s, phase) {
    if (this.views.length === 1) {
      this.goal = this.copy(this.views[0]);
      this.orbit(0.09 * Math.sin(phase), 0.04 * (Math.cos(phase) - 1));
      return;
    }
    const k = Math.min(Math.floor(s), this.views.length - 2);
    const a = this.views[k], b = this.views[k + 1], f = s - k;
    this.goal = {
      axes: turned(a.axes, b.axes, f),
      position: a.position.map((x, i) => x + f * (b.position[i] - x)),
      distance: a.distance + f * (b.distance - a.distance),
      zoom: this.goal.zoom,
    };
    this.pace = 4;
  }

  target() { return add(this.goal.position, this.goal.axes[2], this.goal.distance); }

  // Turn around the target: yaw about the scene's up, pitch about the camera's right (radians).
  orbit(yaw, pitch) { this.turn(yaw, pitch, this.target()); }

  // Turn the head where the camera stands.
  look(yaw, pitch) { this.turn(yaw, pitch, null); }

  turn(yaw, pitch, around) {
    const { goal, up } = this;
    const tilt = Math.acos(clamp(dot(goal.axes[2], up), -1, 1));
    const wanted = clamp(tilt + pitch, Math.min(0.12, tilt), Math.max(Math.PI - 0.12, tilt));
    const right = goal.axes[0];
    const apply = (v) => rotated(rotated(v, right, -(wanted - tilt)), up, yaw);
    const axes = goal.axes.map(apply);
    if (around) goal.position = add(around, apply(add(goal.position, around, -1)));
    goal.axes = axes;
    this.pace = 14;
  }

  pan(dx, dy, focal) { // pixels
    const { goal } = this;
    const s = goal.distance / focal;
    goal.position = add(add(goal.position, goal.axes[0], -dx * s), goal.axes[1], -dy * s);
    this.pace = 14;
  }

  dolly(factor) { // below 1: nearer to the target
    const { goal } = this;
    const target = this.target();
    goal.distance = clamp(goal.distance * factor, 1e-3, 1e4);
    goal.position = add(target, goal.axes[2], -goal.distance);
    this.pace = 14;
  }

  fly(right, down, forward) { // shares of the distance to the target
    const { goal } = this;
    const step = [right, down, forward];
    step.forEach((s, i) => { goal.position = add(goal.position, goal.axes[i], s * goal.distance); });
    this.pace = 14;
  }

  focus(point) { // orbit around this point from now on, and look at it
    const { goal } = this;
    const forward = unit(add(point, goal.position, -1));
    const right = unit(cross(this.up.map((x) => -x), forward));
    goal.distance = length(add(point, goal.position, -1));
    goal.axes = [right, cross(forward, right), forward];
    this.pace = 6;
  }

  // Let what is shown follow the goal; true while it still moves.
  step(seconds) {
    const { shown, goal } = this;
    const f = 1 - Math.exp(-this.pace * seconds);
    const gap = length(add(goal.position, shown.position, -1)) / goal.distance +
      Math.abs(goal.zoom / shown.zoom - 1) +
      goal.axes.reduce((sum, a, i) => sum + length(add(a, shown.axes[i], -1)), 0);
    if (gap === 0) return false;
    if (gap < 2e-4) {
      this.shown = this.copy(goal);
      return true;
    }
    shown.position = shown.position.map((x, i) => x + f * (goal.position[i] - x));
    shown.axes = turned(shown.axes, goal.axes, f);
    shown.distance += f * (goal.distance - shown.distance);
    shown.zoom *= (goal.zoom / shown.zoom) ** f;
    return true;
  }

  // World to camera (16, row-major), focal lengths and principal point for a canvas in pixels.
  project(width, height) {
    const [w, h] = this.size;
    const contain = Math.min(width / w, height / h);
    const cover = Math.max(width / w, height / h);
    const scale = Math.min(cover, contain * 1.35) * this.shown.zoom;
    const { axes, position } = this.shown;
    const w2c = axes.flatMap((a) => [...a, -dot(a, position)]).concat([0, 0, 0, 1]);
    return {
      w2c,
      focal: [this.K[0] * scale, this.K[4] * scale],
      centre: [width / 2 + (this.K[2] - w / 2) * scale, height / 2 + (this.K[5] - h / 2) * scale],
      range: [0.4 * this.shown.distance, 4 * this.shown.distance],
    };
  }
}
