// Off the main thread: decode the payload (docs/FORMATS.md), then sort points back to front.
// Messages in: {type: "decode", base64 | bytes | url, size}, {type: "sort", id, row, time},
// {type: "pick", id, ...}. Messages out: progress, scene, order, picked, error.
"use strict";

const FIELDS = ["points", "moving", "times", "size", "background", "cameras", "sections"];
let scene = null; // positions, offsets and radii stay here for sorting and picking

self.onmessage = async (event) => {
  const message = event.data;
  try {
    if (message.type === "decode") await decode(message);
    else if (message.type === "sort") sort(message);
    else if (message.type === "pick") pick(message);
  } catch (error) {
    self.postMessage({ type: "error", message: String(error.message || error) });
  }
};

const report = (value, label) => self.postMessage({ type: "progress", value, label });

// Unpacking begins with the first piece that has come, not with the last.
async function decode(message) {
  const pieces = piecesOf(message);
  const first = (await pieces.next()).value ?? new Uint8Array(0);
  let length = 0;
  async function* all() {
    length += first.length;
    yield first;
    for await (const piece of pieces) {
      length += piece.length;
      yield piece;
    }
  }
  if (isContainer(first)) {
    const whole = [];
    for await (const piece of all()) whole.push(piece);
    const { header, sections } = await readContainer(joinPieces(whole, length));
    publish(checkHeader(header), sections, () => length, header.times.length);
    return;
  }
  const raw = gunzip(all());
  const begin = await raw.take(12);
  const view = new DataView(begin.buffer, begin.byteOffset, begin.byteLength);
  if (String.fromCharCode(...begin.subarray(0, 4)) !== "4DGS")
    throw new Error("This is not a 4D scene payload.");
  const version = view.getUint32(4, true);
  if (![1, 2, 3, 4, 5].includes(version))
    throw new Error(`The scene is of version ${version}; this player reads 1 to 5.`);
  const header = readHeader(await raw.take(view.getUint32(8, true)));

  // A scene in parts is shown when its first times are there.
  const sections = {};
  const parts = header.parts || [0, header.times.length];
  const partOf = (section) => Number(section?.name.split("/")[1] || 0);
  const list = header.sections;
  for (let k = 0; k < list.length; k++) {
    const section = list[k], part = partOf(section), last = k + 1 === list.length;
    sections[section.name] = { ...section, values: unpack(await raw.take(section.bytes), section) };
    if (!part) report(0.55 + 0.4 * ((k + 1) / list.length), "Decoding");
    if (!last && partOf(list[k + 1]) === part) continue;
    if (last) await raw.end(); // a scene that is not whole is not shown
    if (part === 0) publish(header, sections, () => length, parts[1]);
    else addPart(sections, part, parts);
  }
  if (!list.length) throw new Error("Damaged scene: it has no sections.");
}

function readHeader(bytes) {
  let header = null;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes));
  } catch { /* said below */ }
  if (!header || typeof header !== "object")
    throw new Error("Damaged scene: its header cannot be read.");
  return checkHeader(header);
}

function checkHeader(header) {
  for (const field of FIELDS)
    if (!(field in header)) throw new Error(`Damaged scene: the header has no ${field}.`);
  const numbers = (list, count) => Array.isArray(list) && list.every(Number.isFinite) &&
    (count ? list.length === count : list.length > 0);
  const { times, cameras, size, background, sections } = header;
  const sound = {
    times: numbers(times) && times.every((t, i) => i === 0 || t > times[i - 1]),
    cameras: Array.isArray(cameras) && cameras.length > 0 &&
      cameras.every((camera) => numbers(camera?.K, 9) && numbers(camera?.w2c, 16)),
    size: numbers(size, 2) && Math.min(...size) > 0,
    background: numbers(background, 3),
    sections: Array.isArray(sections) && sections.every((s) => s && numbers(s.shape) &&
      Array.isArray(s.delta) && numbers(s.origin) && Number.isFinite(s.step) && s.bytes >= 0),
  };
  for (const [field, good] of Object.entries(sound))
    if (!good) throw new Error(`Damaged scene: the header's ${field} cannot be right.`);
  return header;
}

// Texture-ready arrays for the page; what sorting needs stays here. `ready`: so many of the times
// are there.
function publish(header, sections, packedBytes, ready) {
  const n = header.points;
  const moving = header.moving;
  const times = header.times.length;
  const { position, log_scale: logScale, rgba, offset, slope, gain, gain_index: gainIndex,
    log_stretch: logStretch, rotation, turn, sheen } = sections;
  const perPoint = [[position, 3], [logScale, 1], [rgba, 4]];
  if (logStretch || rotation) perPoint.push([logStretch, 3], [rotation, 4]);
  if (sheen) perPoint.push([sheen, 9]);
  for (const [section, channels] of perPoint)
    if (!section || section.shape[0] !== channels || section.shape.at(-1) !== n)
      throw new Error("Damaged scene: the header does not fit its sections.");
  if (!(ready > 0 && ready <= times)) throw new Error("Damaged scene: its parts cannot be right.");
  if (moving && (!offset || offset.shape.join() !== [3, ready, moving].join()))
    throw new Error("Damaged scene: the offsets do not fit the header.");
  if (slope && slope.shape.join() !== [3, ready, moving].join())
    throw new Error("Damaged scene: the slopes do not fit the header.");
  if (turn && turn.shape.join() !== [3, ready, moving].join())
    throw new Error("Damaged scene: the turns do not fit the header.");
  if (sheen && (header.sheen_from?.length !== 7 || !header.sheen_from.every(Number.isFinite)))
    throw new Error("Damaged scene: where its colours are seen from cannot be right.");
  if (header.offset_axes && header.offset_axes.length !== 9)
    throw new Error("Damaged scene: the axes of the offsets are no 3 x 3 numbers.");

  const means = new Float32Array(3 * n);
  const radii = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++)
      means[3 * i + c] = position.origin[c] + position.step * position.values[c * n + i];
    radii[i] = Math.exp(logScale.origin[0] + logScale.step * logScale.values[i]);
  }
  const pitches = pixelPitches(header, means);

  // Two RGBA32UI texels a point: x y z radius | colour, pixel pitch, gain slot + 1, spare.
  const points = new ArrayBuffer(32 * n);
  const floats = new Float32Array(points);
  const words = new Uint32Array(points);
  const colours = rgba.values;
  for (let i = 0; i < n; i++) {
    floats.set(means.subarray(3 * i, 3 * i + 3), 8 * i);
    floats[8 * i + 3] = radii[i];
    words[8 * i + 4] =
      (colours[i] | (colours[n + i] << 8) | (colours[2 * n + i] << 16) |
        (colours[3 * n + i] << 24)) >>> 0;
    floats[8 * i + 5] = pitches[i];
  }
  const changing = gain && gainIndex ? gain.shape[2] : 0;
  for (let i = 0; i < changing; i++) words[8 * gainIndex.values[i] + 6] = i + 1;

  const whole = (section, values, items, Type) => {
    const out = new Type(section ? values * times * items : 0);
    if (section && items) out.set(interleave(section, values, Type));
    return out;
  };
  const offsets = whole(offset, 4, moving, Int16Array);
  const slopes = whole(slope, 4, moving, Int16Array);
  const turns = whole(turn, 4, moving, Int8Array);
  const gains = whole(gain, 2, changing, Int8Array);
  scene = {
    n, moving, changing, ready, times: header.times, means, radii,
    offsets: offsets.slice(), offsetStep: moving ? offset.step : 0,
    slopes: slopes.slice(), slopeStep: slope ? slope.step : 0, curved: Boolean(header.curved),
    axes: header.offset_axes, alpha: colours.slice(3 * n), keys: new Uint32Array(n), items: new Uint32Array(n),
    spareKeys: new Uint32Array(n), spareItems: new Uint32Array(n),
  };
  const info = { ...header, changing, ready, packedBytes: packedBytes(), sections: undefined };
  info.offsetStep = scene.offsetStep;
  info.slopeStep = scene.slopeStep;
  info.turnStep = turn ? turn.step : 0;
  info.gainStep = changing ? gain.step : 0;
  info.sheenStep = sheen ? sheen.step : 0;
  info.subject = subject();
  const shapes = logStretch ? covariances(logStretch, rotation, n) : new Float32Array(0);
  const sheens = sheen ? slopesOfColours(sheen.values, n) : new Int8Array(0);
  self.postMessage({ type: "scene", info, points, offsets, slopes, turns, gains, shapes, sheens }, [
    points, offsets.buffer, slopes.buffer, turns.buffer, gains.buffer, shapes.buffer, sheens.buffer,
  ]);
}

// Three texels a point, one a channel: how it changes along x, y and z of where one looks from.
function slopesOfColours(values, n) {
  const out = new Int8Array(12 * n);
  for (let k = 0; k < 9; k++)
    for (let i = 0; i < n; i++)
      out[12 * i + 4 * Math.floor(k / 3) + k % 3] = values[k * n + i];
  return out;
}

// Covariances of points that are not round, divided by radius^2: two texels a point,
// xx yy zz xy | xz yz 0 0.
function covariances(logStretch, rotation, n) {
  const out = new Float32Array(8 * n);
  for (let i = 0; i < n; i++) {
    const [w, x, y, z] = [0, 1, 2, 3].map((c) => rotation.values[c * n + i]);
    const norm = w * w + x * x + y * y + z * z || 1, s = 2 / norm;
    const turn = [
      1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y),
      s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x),
      s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y),
    ];
    const squares = [0, 1, 2].map((c) => Math.exp(
      2 * (logStretch.origin[c] + logStretch.step * logStretch.values[c * n + i])));
    const entry = (a, b) => squares.reduce((sum, v, c) => sum + turn[3 * a + c] * turn[3 * b + c] * v, 0);
    out.set([entry(0, 0), entry(1, 1), entry(2, 2), entry(0, 1), entry(0, 2), entry(1, 2)], 8 * i);
  }
  return out;
}

// The times of a later part: for sorting here, and for the page.
function addPart(sections, part, parts) {
  const { moving, changing } = scene, from = parts[part], ready = parts[part + 1];
  const of = (name, channels, items, values, Type) => {
    const section = sections[`${name}/${part}`];
    if (!section) return new Type(0);
    if (section.shape.join() !== [channels, ready - from, items].join())
      throw new Error("Damaged scene: a part does not fit the header.");
    return interleave(section, values, Type);
  };
  const offsets = of("offset", 3, moving, 4, Int16Array);
  const slopes = of("slope", 3, moving, 4, Int16Array);
  const turns = of("turn", 3, moving, 4, Int8Array);
  const gains = of("gain", 2, changing, 2, Int8Array);
  scene.offsets.set(offsets, 4 * from * moving);
  if (slopes.length) scene.slopes.set(slopes, 4 * from * moving);
  scene.ready = ready;
  for (const name of ["offset", "slope", "turn", "gain"]) delete sections[`${name}/${part}`];
  self.postMessage({ type: "part", from, ready, offsets, slopes, turns, gains },
    [offsets.buffer, slopes.buffer, turns.buffer, gains.buffer]);
}

// [channels, times, items] planes -> texels of so many values, time after time.
function interleave(section, values, Type) {
  const [channels, times, items] = section.shape;
  const out = new Type(values * times * items);
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < times * items; i++)
      out[values * i + c] = section.values[c * times * items + i];
  return out;
}

// Size of an input pixel at each point (world units), from the closest input camera: when the
// picture is finer than the input was, the low-pass grows so that the surface stays closed.
function pixelPitches(header, means) {
  const n = means.length / 3;
  const out = new Float32Array(n);
  for (const { K, w2c } of header.cameras)
    for (let i = 0; i < n; i++) {
      const z = w2c[8] * means[3 * i] + w2c[9] * means[3 * i + 1] + w2c[10] * means[3 * i + 2] +
        w2c[11];
      const pitch = z / K[0];
      if (pitch > 0 && (out[i] === 0 || pitch < out[i])) out[i] = pitch;
    }
  return out;
}

// Centre of what moves (else of everything): the point to orbit around.
function subject() {
  const count = scene.moving > 20 ? scene.moving : scene.n;
  const stride = Math.max(1, Math.floor(count / 5000));
  const sample = [[], [], []];
  const middle = blend(0.5);
  for (let i = 0; i < count; i += stride)
    place(i, middle, null).forEach((value, c) => sample[c].push(value));
  return sample.map((axis) => axis.sort((a, b) => a - b)[axis.length >> 1]);
}

// The stored times around a time, and what a step of their offsets and slopes counts.
function blend(time) {
  const { before, after, weights } = momentAt(scene.times, time, scene.curved, scene.ready);
  const [a, b, c, d] = weights;
  return { k: before, next: after, a: a * scene.offsetStep, b: b * scene.slopeStep,
    c: c * scene.offsetStep, d: d * scene.slopeStep };
}

// Along one axis, how far point i has moved.
function moved(i, axis, { k, next, a, b, c, d }) {
  const { offsets, slopes, moving } = scene;
  const p = 4 * (k * moving + i) + axis, q = 4 * (next * moving + i) + axis;
  const straight = a * offsets[p] + c * offsets[q];
  return scene.slopeStep ? straight + b * slopes[p] + d * slopes[q] : straight;
}

// World position of a point; `turn` (3 x 3) takes its offset to world axes, null: it is in them.
function place(i, at, turn) {
  const { means, moving } = scene;
  const p = [means[3 * i], means[3 * i + 1], means[3 * i + 2]];
  if (i >= moving) return p;
  const move = [0, 1, 2].map((axis) => moved(i, axis, at));
  return p.map((x, r) => x + (turn
    ? turn[3 * r] * move[0] + turn[3 * r + 1] * move[1] + turn[3 * r + 2] * move[2] : move[r]));
}

// Takes offsets that are in camera axes (Eq. 11 as printed) to the world's; null: they are in them.
function turnFor(w2c) {
  const { axes } = scene;
  return axes && [0, 1, 2].flatMap((r) => [0, 1, 2].map((c) =>
    w2c[r] * axes[c] + w2c[4 + r] * axes[3 + c] + w2c[8 + r] * axes[6 + c]));
}

// Far to near by camera z: exact radix sort of the float bits, two passes of 16 bits.
function sort({ id, row, time }) {
  if (!scene) return;
  const { n, moving, means, keys, items, spareKeys, spareItems } = scene;
  const [rx, ry, rz, rw] = row;
  const [ox, oy, oz] = scene.axes ? scene.axes.slice(6) : row; // what an offset adds to the depth
  const at = blend(time);
  const depth = new Float32Array(1);
  const bits = new Uint32Array(depth.buffer);
  let count = 0;
  for (let i = 0; i < n; i++) {
    let away = rx * means[3 * i] + ry * means[3 * i + 1] + rz * means[3 * i + 2] + rw;
    if (i < moving) away += ox * moved(i, 0, at) + oy * moved(i, 1, at) + oz * moved(i, 2, at);
    depth[0] = away;
    if (!(depth[0] > 0.01)) continue;
    keys[count] = ~bits[0];
    items[count++] = i;
  }
  pass(keys, items, spareKeys, spareItems, count, 0);
  pass(spareKeys, spareItems, keys, items, count, 16);
  const order = items.slice(0, count);
  self.postMessage({ type: "order", id, order }, [order.buffer]);
}

const histogram = new Uint32Array(65537);
function pass(keys, items, keysOut, itemsOut, count, shift) {
  histogram.fill(0);
  for (let i = 0; i < count; i++) histogram[((keys[i] >>> shift) & 65535) + 1]++;
  for (let i = 1; i < 65537; i++) histogram[i] += histogram[i - 1];
  for (let i = 0; i < count; i++) {
    const to = histogram[(keys[i] >>> shift) & 65535]++;
    keysOut[to] = keys[i];
    itemsOut[to] = items[i];
  }
}

// The nearest solid point under a pixel: {w2c, focal, centre, pixel, time} -> world position.
function pick({ id, w2c, focal, centre, pixel, time }) {
  const at = scene && blend(time), turn = scene && turnFor(w2c);
  let best = null;
  for (let i = 0; scene && i < scene.n; i++) {
    if (scene.alpha[i] < 100) continue;
    const p = place(i, at, turn);
    const [x, y, z] = [0, 4, 8].map(
      (r) => w2c[r] * p[0] + w2c[r + 1] * p[1] + w2c[r + 2] * p[2] + w2c[r + 3]);
    if (z < 0.01 || (best && z >= best.z)) continue;
    const reach = 2 + (1.5 * focal[0] * scene.radii[i]) / z;
    const u = (focal[0] * x) / z + centre[0] - pixel[0];
    const v = (focal[1] * y) / z + centre[1] - pixel[1];
    if (u * u + v * v < reach * reach) best = { z, p };
  }
  self.postMessage({ type: "picked", id, point: best && best.p });
}
