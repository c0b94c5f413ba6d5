// States of a container -> header and sections as a payload of ours has them (see worker.js).

const GROWN = 0.1, TURNED = Math.cos(1), OTHER_HUE = 6 / 255, ROUND = 0.05;
const LEAST_TURN = 0.01; // half the angle in rad; smaller ones are the file's rounding

// Whether a Gaussian looks otherwise than it did: then another one takes its place.
function differs(now, then) {
  if (now.logs.some((v, c) => Math.abs(v - then.logs[c]) > GROWN)) return true;
  const long = Math.max(...then.logs) - Math.min(...then.logs) > ROUND;
  if (long && Math.abs(dot(now.turn, then.turn)) < TURNED) return true;
  const shade = shadeOf(now, then);
  return now.rgb.some((v, c) => Math.abs(v - Math.min(1, then.rgb[c] * shade)) > OTHER_HUE);
}

const dot = (a, b) => a.reduce((sum, v, c) => sum + v * b[c], 0);

// How a Gaussian has turned since, axis * tan(angle / 2) (recon/motion/turning.py); round ones, which
// may be said to have turned by any angle, have not.
function turnSince(now, then) {
  const [w, ...xyz] = product(now.turn, [then.turn[0], ...then.turn.slice(1).map((v) => -v)]);
  return Math.abs(w) < TURNED ? [0, 0, 0] : xyz.map((v) => v / w);
}

const shadeOf = (now, then) => now.rgb.reduce((sum, v, c) => sum + v * then.rgb[c], 0) /
  Math.max(1e-9, then.rgb.reduce((sum, v) => sum + v * v, 0));

function asPayload(file) {
  const turn = { "y-up-right-handed": [0, 1, 0, 0],
    "z-up-right-handed": [Math.SQRT1_2, Math.SQRT1_2, 0, 0] }[
    file.header.attributes.coordinate_system];
  const { states } = file;
  const points = []; // {look, places: [T] (null: not yet), shades, alphas}
  const running = new Map(); // id -> the episode that is shown
  states.forEach(({ there }, t) => {
    for (const [id, gaussian] of there) {
      if (turn) {
        gaussian.at = rotate(gaussian.at, turn);
        gaussian.turn = product(turn, gaussian.turn);
      }
      let point = running.get(id);
      if (!point || differs(gaussian, point.look)) {
        const track = point?.track ?? new Array(states.length).fill(null);
        point = { look: gaussian, track, shades: new Map(), alphas: new Map(), turns: new Map() };
        running.set(id, point);
        points.push(point);
      }
      point.track[t] = gaussian.at;
      point.shades.set(t, shadeOf(gaussian, point.look));
      point.alphas.set(t, gaussian.alpha);
      point.turns.set(t, turnSince(gaussian, point.look));
    }
  });
  if (!points.length) throw new Error("This scene holds no Gaussian at any time.");
  if (points.length * states.length > MOST_VALUES)
    throw new Error("This scene is too large for this player.");
  for (const track of new Set(points.map((p) => p.track))) fillTrack(track);
  return sectionsOf(file, points, turn);
}

// Where a Gaussian is absent it waits where it was, or will be.
function fillTrack(track) {
  let last = track.find((at) => at);
  for (let t = 0; t < track.length; t++) last = track[t] = track[t] ?? last;
}

function sectionsOf(file, points, turn) {
  const { states } = file;
  const count = states.length, n = points.length;
  for (const p of points) {
    p.peak = Math.max(...p.alphas.values());
    p.home = p.look.at;
    p.moves = p.track.some((at) => at.some((v, c) => Math.abs(v - p.home[c]) > 1e-7)) ||
      [...p.turns.values()].some((turn) => turn.some((v) => Math.abs(v) > LEAST_TURN));
    p.changes = count > 1 && (p.alphas.size < count ||
      [...p.alphas.values()].some((a) => Math.abs(a - p.peak) > 1e-3) ||
      [...p.shades.values()].some((s) => Math.abs(s - 1) > 1e-3));
  }
  points.sort((a, b) => b.moves - a.moves);
  const moving = count > 1 ? points.filter((p) => p.moves).length : 0;
  const changing = points.flatMap((p, i) => (p.changes ? [i] : []));
  const plane = (Type, channels, items, value) => {
    const out = new Type(channels * items);
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < items; i++) out[c * items + i] = value(c, i);
    return out;
  };
  const section = (values, shape, step = 1) =>
    ({ values, shape, step, origin: new Array(shape[0]).fill(0) });
  const middle = points.map((p) => (p.look.logs[0] + p.look.logs[1] + p.look.logs[2]) / 3);
  const rgba = (c, i) => Math.round(255 * (c < 3 ? points[i].look.rgb[c] : Math.min(1, points[i].peak)));
  const sections = {
    position: section(plane(Float64Array, 3, n, (c, i) => points[i].home[c]), [3, n]),
    log_scale: section(Float32Array.from(middle), [1, n]),
    rgba: section(plane(Uint8Array, 4, n, rgba), [4, n], 1 / 255),
    log_stretch: section(plane(Float32Array, 3, n, (c, i) => points[i].look.logs[c] - middle[i]), [3, n]),
    rotation: section(plane(Float32Array, 4, n, (c, i) => points[i].look.turn[c]), [4, n]),
  };
  if (moving) {
    sections.offset = offsetSection(points, count, moving);
    sections.turn = turnSection(points, count, moving);
  }
  if (changing.length) {
    sections.gain_index = section(Uint32Array.from(changing), [1, changing.length]);
    sections.gain = gainSection(points, count, changing);
  }
  const first = states[0].t, length = states[count - 1].t - first;
  const title = file.header.attributes.title ?? "";
  const header = {
    name: title, prompt: title, fps: length > 0 ? (count - 1) / length : 8,
    points: n, moving, changing: changing.length,
    times: states.map(({ t }) => (length > 0 ? (t - first) / length : 0)),
    ...surroundings(file, points, turn), sections: [],
  };
  return { header, sections };
}

function offsetSection(points, count, moving) {
  let largest = 1e-12;
  for (let i = 0; i < moving; i++)
    for (const at of points[i].track)
      for (let c = 0; c < 3; c++) largest = Math.max(largest, Math.abs(at[c] - points[i].home[c]));
  const step = largest / 32767;
  const values = new Int16Array(3 * count * moving);
  for (let c = 0; c < 3; c++)
    for (let t = 0; t < count; t++)
      for (let i = 0; i < moving; i++)
        values[(c * count + t) * moving + i] =
          Math.round((points[i].track[t][c] - points[i].home[c]) / step);
  return { values, shape: [3, count, moving], step, origin: [0, 0, 0] };
}

// An episode has the axes it began with where it is not shown.
function turnSection(points, count, moving) {
  const turn = (i, c, t) => points[i].turns.get(t)?.[c] ?? 0;
  const values = new Int8Array(3 * count * moving);
  let largest = 1e-6;
  for (let i = 0; i < moving; i++)
    for (const g of points[i].turns.values()) largest = Math.max(largest, ...g.map(Math.abs));
  const step = largest / 127;
  for (let c = 0; c < 3; c++)
    for (let t = 0; t < count; t++)
      for (let i = 0; i < moving; i++)
        values[(c * count + t) * moving + i] = Math.round(turn(i, c, t) / step);
  return { values, shape: [3, count, moving], step, origin: [0, 0, 0] };
}

function gainSection(points, count, changing) {
  const gain = (p, c, t) => c === 0 ? (p.shades.get(t) ?? 1) - 1
    : (p.alphas.get(t) ?? 0) / Math.max(p.peak, 1e-9) - 1;
  let largest = 1e-6;
  for (const i of changing)
    for (let t = 0; t < count; t++)
      for (let c = 0; c < 2; c++) largest = Math.max(largest, Math.abs(gain(points[i], c, t)));
  const step = largest / 127;
  const values = new Int8Array(2 * count * changing.length);
  changing.forEach((i, k) => {
    for (let c = 0; c < 2; c++)
      for (let t = 0; t < count; t++)
        values[(c * count + t) * changing.length + k] = Math.round(gain(points[i], c, t) / step);
  });
  return { values, shape: [2, count, changing.length], step, origin: [0, 0] };
}

// Cameras, size of the pictures, background: ours, else the file's camera, else from afar.
function surroundings(file, points, turn) {
  const ours = file.notes.fourreal;
  if (ours) {
    const parsed = Object.fromEntries(["cameras", "size", "background"].map((key) => {
      try {
        return [key, JSON.parse(ours[key])];
      } catch {
        throw new Error(`Damaged scene: its ${key} cannot be read.`);
      }
    }));
    return { ...parsed, name: ours.name ?? "", prompt: ours.prompt ?? "" };
  }
  const size = [720, 1280];
  const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
  const middle = [0, 1, 2].map((c) => median(points.map((p) => p.home[c])));
  const away = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  const apart = points.map((p) => away(p.home, middle)).sort((a, b) => a - b);
  const reach = Math.max(1e-6, apart[Math.floor(0.9 * (apart.length - 1))]);
  let eye = [middle[0], middle[1], middle[2] - 2.2 * reach], aim = middle, fov = 50;
  const { camera } = file;
  if (camera && camera.fov > 1 && camera.fov < 170 && away(camera.position, camera.target) > 1e-9) {
    fov = camera.fov;
    [eye, aim] = [camera.position, camera.target].map((p) => (turn ? rotate(p, turn) : p));
  }
  const f = size[0] / 2 / Math.tan((fov * Math.PI) / 360);
  return {
    size, background: [0, 0, 0],
    cameras: [{ K: [f, 0, size[1] / 2, 0, f, size[0] / 2, 0, 0, 1], w2c: lookAt(eye, aim) }],
  };
}

// World to camera, 16 numbers: x right, y down, z forward; the scene's up is -y.
function lookAt(eye, aim) {
  const norm = (v) => v.map((x) => x / (Math.hypot(...v) || 1));
  const cross3 = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const forward = norm(aim.map((v, c) => v - eye[c]));
  const down = Math.abs(forward[1]) > 0.999 ? [0, 0, -1] : [0, 1, 0];
  const right = norm(cross3(down, forward));
  const axes = [right, cross3(forward, right), forward];
  return axes.flatMap((a) => [...a, -a.reduce((sum, v, c) => sum + v * eye[c], 0)]).concat([0, 0, 0, 1]);
}

function product([p, q, r, s], [w, x, y, z]) {
  return [p * w - q * x - r * y - s * z, p * x + q * w + r * z - s * y,
    p * y - q * z + r * w + s * x, p * z + q * y - r * x + s * w];
}

const rotate = (v, q) =>
  product(product(q, [0, ...v]), [q[0], -q[1], -q[2], -q[3]]).slice(1);
