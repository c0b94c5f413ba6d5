// Open .4dgs containers (github.com/avala-ai/4dgs) in the worker: records, streams and the two
// ways of telling time, up to the same header and sections that a payload of ours has.
// What Python reads with the package fourdgs (viewer/read/open_4dgs.py) is read here the same way:
// states at the file's own stamps, straight lines between them, a Gaussian that changes its shape
// cut into episodes.

const OPCODES = { 1: "header", 3: "quantization", 4: "windows", 5: "chunk", 10: "camera",
  11: "metadata", 16: "delta" };
const ATTRIBUTES = { 0: ["position", 3], 1: ["scale", 3], 2: ["largest", 1], 3: ["rotation", 3],
  4: ["color", 3], 5: ["opacity", 1], 6: ["motion", 3], 7: ["mu", 1], 8: ["sigma", 1],
  9: ["flags", 1], 10: ["window", 1], 13: ["id", 1] };
const ABSOLUTE = ["largest", "rotation"]; // an update restates them, it does not add to them
const MOST_VALUES = 1 << 24;

const isContainer = (b) =>
  b.length > 8 && b[0] === 0x89 && b[1] === 0x34 && b[2] === 0x44 && b[3] === 0x47 && b[4] === 0x53;

class Bytes {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.at = 0;
  }
  take(n) {
    if (!(n >= 0 && this.at + n <= this.data.length))
      throw new Error("Damaged scene: it is cut short.");
    this.at += n;
    return this.data.subarray(this.at - n, this.at);
  }
  read(kind, n) { this.take(n); return this.view[`get${kind}`](this.at - n, true); }
  u8() { return this.read("Uint8", 1); }
  u16() { return this.read("Uint16", 2); }
  u32() { return this.read("Uint32", 4); }
  u64() { return Number(this.read("BigUint64", 8)); }
  f64() { return this.read("Float64", 8); }
  f64s(n) { return Array.from({ length: n }, () => this.f64()); }
  text() { return new TextDecoder().decode(this.take(this.u32())); }
  block() { return new Bytes(this.take(this.u64())); }
  map() {
    const inner = new Bytes(this.take(this.u32()));
    const out = {};
    while (inner.at < inner.data.length) {
      const key = inner.text();
      out[key] = inner.text();
    }
    return out;
  }
}

async function readContainer(data) {
  if (data[5] !== 0x31) throw new Error("This 4dgs file is of a later version; update the player.");
  const file = { notes: {}, windows: [[0, 0]], states: [] };
  const bytes = new Bytes(data);
  bytes.take(8);
  let whole = null;
  const references = new Map(); // where a chunk lies -> what it states
  while (data.length - bytes.at >= 9) {
    const from = bytes.at;
    const kind = OPCODES[bytes.u8()];
    const record = bytes.block();
    report(0.35 + (0.4 * from) / data.length, "Unpacking");
    if (kind === "header" && !file.header) file.header = readFileHeader(record);
    else if (kind === "quantization" && !file.steps) file.steps = readSteps(record);
    else if (kind === "windows") file.windows = readWindows(record);
    else if (kind === "camera") file.camera = readCamera(record);
    else if (kind === "metadata") file.notes[record.text()] = record.map();
    else if (kind === "chunk" || kind === "delta") {
      if (!file.header || !file.steps) throw new Error("Damaged scene: it begins with a chunk.");
      const born = file.header.model === "gaussian-birth";
      if (kind === "delta" && born) throw new Error("Damaged scene: a change without a keyframe.");
      const state = kind === "chunk" ? await readChunk(record, born)
        : await readDelta(record, references);
      references.set(from, state);
      if (born) whole = whole ? joined(whole, state) : state;
      else file.states.push(stateAt(state, file, state.t0));
      file.last = state;
    }
  }
  if (!file.header || !file.steps || !file.last)
    throw new Error("Damaged scene: no header, no quantisation or no chunk in it.");
  if (whole) file.states = bornStates(whole, file);
  else addEnd(file);
  return asPayload(file);
}

function readFileHeader(r) {
  r.text(), r.text();
  const duration = r.f64();
  r.u64();
  const header = { duration, cutoff: r.f64(), model: r.text() };
  r.take(6 * 8 + 2);
  header.attributes = r.map();
  if (!["keyframe-delta", "gaussian-birth"].includes(header.model))
    throw new Error(`This 4dgs file tells time by ${header.model}, which this player cannot.`);
  if (!(header.cutoff > 0 && header.cutoff <= 1 && duration >= 0 && duration < 1e9))
    throw new Error("Damaged scene: the header's numbers cannot be right.");
  return header;
}

function readSteps(r) {
  const scheme = r.text();
  if (scheme !== "uniform-v1")
    throw new Error(`This 4dgs file is quantised by ${scheme}, which this player cannot read.`);
  const origin = r.f64s(3);
  const [position, scale, rotation, color, opacity, motion, time, sigma] = r.f64s(8);
  const steps = { origin, position, scale, rotation, color, opacity, motion, time, sigma };
  if (!Object.values(steps).flat().every(Number.isFinite))
    throw new Error("Damaged scene: a step that is no number.");
  return steps;
}

function readWindows(r) {
  const count = r.u32();
  if (16 * count > r.data.length) throw new Error("Damaged scene: it is cut short.");
  const out = Array.from({ length: count }, () => r.f64s(2));
  return out.length ? out : [[0, 0]];
}

const readCamera = (r) => ({ fov: r.f64(), position: r.f64s(3), target: r.f64s(3) });

// The streams of a chunk or group: {attribute: {channels, values: Int32Array}}, count rows each.
async function readStreams(r, count) {
  const out = {};
  while (r.at < r.data.length) {
    const [attribute, width, mode, codec, channels] = [r.u8(), r.u8(), r.u8(), r.u8(), r.u8()];
    const rows = r.u32();
    const body = r.take(r.u64());
    const known = ATTRIBUTES[attribute];
    if (!known) continue;
    const [name, wanted] = known;
    if (out[name] || channels !== wanted || rows !== count || ![1, 2, 4].includes(width) || mode > 2)
      throw new Error(`Damaged scene: its stream of ${name} cannot be right.`);
    const symbols = mode === 2 ? channels : rows * channels;
    if (rows * channels > MOST_VALUES) throw new Error("This scene is too large for this player.");
    out[name] = { channels, values: rows ? numbers(
      await inflate(body, codec, symbols * width), symbols, width, mode, rows, channels)
      : new Int32Array(0) };
  }
  return out;
}

// Byte planes, zig-zag, differences down the rows (mode 1) or one row for all (mode 2).
function numbers(raw, symbols, width, mode, rows, channels) {
  const out = new Int32Array(rows * channels);
  for (let i = 0; i < symbols; i++) {
    let code = 0;
    for (let b = width - 1; b >= 0; b--) code = ((code << 8) | raw[b * symbols + i]) >>> 0;
    out[i] = (code >>> 1) ^ -(code & 1);
  }
  if (mode === 1) for (let i = channels; i < out.length; i++) out[i] += out[i - channels];
  if (mode === 2) for (let i = channels; i < out.length; i++) out[i] = out[i - channels];
  return out;
}

async function inflate(body, codec, size) {
  if (codec > 1) throw new Error("This scene is compressed in a way this player does not know.");
  let stream;
  try {
    stream = new DecompressionStream(codec ? "zstd" : "deflate");
  } catch {
    throw new Error("This scene is compressed with zstd, which this browser cannot read; write it " +
      "with --codec deflate.");
  }
  const pieces = [];
  let got = 0;
  try {
    const reader = new Blob([body]).stream().pipeThrough(stream).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      got += value.length;
      if (got > size) throw new Error();
      pieces.push(value);
    }
  } catch {
    throw new Error("Damaged scene: the compressed data cannot be read.");
  }
  if (got !== size) throw new Error("Damaged scene: a stream has the wrong size.");
  return joinPieces(pieces, got);
}

function joinPieces(pieces, length) {
  const out = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

async function unpackBlock(r) {
  const compression = r.text(), size = r.u64(), body = r.take(r.u64());
  if (!compression) return new Bytes(body);
  const codec = { deflate: 0, zstd: 1 }[compression] ?? 2;
  if (size > 1 << 29) throw new Error("This scene is too large for this player.");
  return new Bytes(await inflate(body, codec, size));
}

async function readChunk(r, born) {
  const state = { t0: r.f64(), t1: r.f64() };
  r.u32();
  const count = r.u32();
  state.bins = await readStreams(await unpackBlock(r), count);
  for (const [name] of Object.values(ATTRIBUTES))
    if (!state.bins[name] && count && !(born && name === "id"))
      throw new Error(`Damaged scene: a chunk says nothing of ${name}.`);
  state.count = count;
  if (!born) state.rows = rowsOf(count ? state.bins.id.values : []);
  return state;
}

function rowsOf(ids) {
  const rows = new Map();
  ids.forEach((id, i) => rows.set(id >>> 0, i));
  if (rows.size !== ids.length) throw new Error("Damaged scene: a Gaussian is named twice.");
  return rows;
}

// A delta: deaths, updates, births applied to the state it refers to.
async function readDelta(r, references) {
  const t0 = r.f64(), t1 = r.f64();
  r.u32(), r.u8();
  const before = references.get(r.u64());
  r.u64(), r.u16();
  const [updates, births, deaths] = [r.u32(), r.u32(), r.u32()];
  if (!before) throw new Error("Damaged scene: a change of something that is not there.");
  const block = await unpackBlock(r);
  const groups = [];
  for (const count of [updates, births, deaths]) groups.push(await readStreams(block.block(), count));
  const [changed, born, dead] = groups;
  const gone = new Set(Array.from(dead.id?.values ?? [], (id) => id >>> 0));
  const kept = [...before.rows].filter(([id]) => !gone.has(id));
  const added = Array.from(born.id?.values ?? [], (id) => id >>> 0);
  const state = { t0, t1, count: kept.length + added.length, bins: {} };
  for (const [name, { channels, values }] of Object.entries(before.bins)) {
    const out = new Int32Array(state.count * channels);
    kept.forEach(([, row], i) =>
      out.set(values.subarray(row * channels, (row + 1) * channels), i * channels));
    if (added.length) {
      if (!born[name]) throw new Error(`Damaged scene: what is born has no ${name}.`);
      out.set(born[name].values, kept.length * channels);
    }
    state.bins[name] = { channels, values: out };
  }
  if (!before.count) Object.assign(state.bins, born);
  state.rows = new Map([...kept.map(([id]) => id), ...added].map((id, i) => [id, i]));
  if (state.rows.size !== state.count) throw new Error("Damaged scene: a Gaussian is named twice.");
  const rows = Array.from(changed.id?.values ?? [], (id) => state.rows.get(id >>> 0));
  if (rows.includes(undefined)) throw new Error("Damaged scene: a change of what is not there.");
  for (const [name, { channels, values }] of Object.entries(changed)) {
    if (name === "id") continue;
    const target = state.bins[name]?.values;
    if (!target) throw new Error(`Damaged scene: a change of ${name}, which nothing has.`);
    const absolute = ABSOLUTE.includes(name);
    rows.forEach((row, i) => {
      for (let c = 0; c < channels; c++) {
        const value = values[i * channels + c];
        target[row * channels + c] = absolute ? value : target[row * channels + c] + value;
      }
    });
  }
  return state;
}

function joined(a, b) {
  const bins = {};
  for (const [name, { channels, values }] of Object.entries(a.bins)) {
    const more = b.bins[name]?.values ?? new Int32Array(0);
    const out = new Int32Array(values.length + more.length);
    out.set(values);
    out.set(more, values.length);
    bins[name] = { channels, values: out };
  }
  return { ...a, t1: b.t1, count: a.count + b.count, bins: a.count ? bins : b.bins };
}

// Everything a Gaussian is at t seconds (section 3): null where it is not there.
function gaussianAt({ bins }, file, i, t) {
  const { steps, header, windows } = file;
  const bin = (name, c = 0) => bins[name].values[i * bins[name].channels + c];
  const [low, high] = windows[bin("window")] ?? [];
  if (low === undefined) throw new Error("Damaged scene: a window that is not there.");
  if (!(low <= t && t < high)) return null;
  const never = bin("flags") !== 0;
  const sigma = Math.exp(bin("sigma") * steps.sigma);
  const support = Math.sqrt(-2 * Math.log(header.cutoff));
  const half = Math.min(2, Math.max(0.02, never ? high - low : support * sigma));
  const life = Math.min(2, Math.max(-4, Math.ceil(Math.log2(half / 0.5))));
  const speed = steps.motion * 2 ** -life;
  const fine = Math.min(0, Math.max(-10, Math.floor(
    Math.log2((never ? steps.time : Math.min(steps.time, 0.05 * sigma)) / steps.time))));
  const since = t - bin("mu") * steps.time * 2 ** fine;
  const fade = never ? 1 : Math.exp(-0.5 * (since / sigma) ** 2);
  if (header.model === "gaussian-birth" && fade < header.cutoff) return null;
  const largest = bin("largest");
  const turn = [0, 0, 0, 0]; // x, y, z, w
  let square = 0;
  [0, 1, 2, 3].filter((axis) => axis !== largest).forEach((axis, c) => {
    turn[axis] = Math.min(1, Math.max(-1, bin("rotation", c) * steps.rotation));
    square += turn[axis] ** 2;
  });
  turn[largest] = Math.sqrt(Math.max(0, 1 - square));
  const green = bin("color", 0);
  const unit = (x) => Math.min(1, Math.max(0, x));
  return {
    at: [0, 1, 2].map((c) => steps.origin[c] + bin("position", c) * steps.position +
      bin("motion", c) * speed * since),
    logs: [0, 1, 2].map((c) => bin("scale", c) * steps.scale),
    turn: [turn[3], turn[0], turn[1], turn[2]],
    rgb: [bin("color", 1) + green, green, bin("color", 2) + green].map((x) => unit(x * steps.color)),
    alpha: unit(bin("opacity") * steps.opacity) * fade,
  };
}

// {t, there: Map(id -> Gaussian)}
function stateAt(state, file, t) {
  const there = new Map();
  const ids = state.rows ? [...state.rows] : Array.from({ length: state.count }, (_, i) => [i, i]);
  for (const [id, row] of ids) {
    const gaussian = gaussianAt(state, file, row, t);
    if (gaussian) there.set(id, gaussian);
  }
  return { t, there };
}

// Just below a number, so that the end of a file still lies within it.
const justBelow = (x) => x - Math.max(x, 1e-12) * 2 ** -52;

function addEnd(file) {
  const { last } = file;
  if (last.bins.motion?.values.some((v) => v !== 0))
    file.states.push(stateAt(last, file, justBelow(last.t1)));
}

function bornStates(whole, file) {
  const end = file.header.duration;
  const peaks = new Set();
  const { steps } = file;
  for (let i = 0; i < whole.count && peaks.size <= 64; i++) {
    const sigma = Math.exp(whole.bins.sigma.values[i] * steps.sigma);
    const never = whole.bins.flags.values[i] !== 0;
    const fine = Math.min(0, Math.max(-10, Math.floor(
      Math.log2((never ? steps.time : Math.min(steps.time, 0.05 * sigma)) / steps.time))));
    peaks.add(Math.min(end, Math.max(0, whole.bins.mu.values[i] * steps.time * 2 ** fine)));
  }
  let stamps = [...peaks].sort((a, b) => a - b);
  if (stamps.length < 2 || stamps.length > 64) {
    const last = justBelow(end);
    stamps = end ? Array.from({ length: 33 }, (_, k) => (last * k) / 32) : [0];
  }
  return stamps.map((t) => stateAt(whole, file, t));
}
