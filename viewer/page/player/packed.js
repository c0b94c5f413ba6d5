// Part of the worker: packed bytes, as they come, to the numbers of sections.

// The packed bytes piece by piece, saying how much has come.
async function* piecesOf({ base64, bytes, url, size }) {
  if (bytes) yield new Uint8Array(bytes);
  else if (url) yield* fetched(url, size);
  else yield* fromBase64(base64);
}

async function* fetched(url, size) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error("The scene cannot be loaded: this page needs a web server, and the file " +
      `${url.split("/").pop()} beside it.`);
  }
  if (!response.ok) throw new Error(`The scene cannot be loaded (${response.status}).`);
  const total = size || Number(response.headers.get("content-length")) || 0;
  const reader = response.body.getReader();
  for (let got = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    got += value.length;
    loaded(got, total);
    yield value;
  }
}

function loaded(got, total) {
  const [unit, label, digits] = (total || got) < 1e6 ? [1e3, "kB", 0] : [1e6, "MB", 1];
  const number = (n) => (n / unit).toFixed(digits);
  report(total ? 0.5 * Math.min(1, got / total) : 0.2,
    total ? `Loading ${number(got)} of ${number(total)} ${label}` : `Loading ${number(got)} ${label}`);
}

function* fromBase64(text) {
  const clean = text.trim();
  const piece = 1 << 20; // a multiple of 4
  for (let from = 0; from < clean.length; from += piece) {
    const binary = atob(clean.slice(from, from + piece));
    const out = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
    loaded(0.75 * Math.min(from + piece, clean.length), 0.75 * clean.length);
    yield out;
  }
}

// The unpacked bytes of packed pieces, as they come: take(n) waits for the next n of them.
function gunzip(pieces) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser has no DecompressionStream; please update it.");
  report(0.02, "Unpacking");
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter(), reader = stream.readable.getReader();
  let lost = null; // what went wrong before the pieces came here
  (async () => {
    try {
      for (let next; ;) {
        try {
          next = await pieces.next();
        } catch (error) {
          lost = error;
          throw error;
        }
        if (next.done) break;
        await writer.write(next.value);
      }
      await writer.close();
    } catch {
      writer.abort().catch(() => {});
    }
  })();
  let left = []; // pieces that came and were not taken
  let held = 0;
  async function more() {
    let next;
    try {
      next = await reader.read();
    } catch {
      throw lost ?? new Error("Damaged scene: the compressed data cannot be read.");
    }
    if (next.done && lost) throw lost;
    if (!next.done) {
      left.push(next.value);
      held += next.value.length;
    }
    return !next.done;
  }
  async function take(count) {
    while (held < count)
      if (!(await more())) throw new Error("Damaged scene: it is cut short.");
    const out = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const piece = left.shift(), use = piece.subarray(0, count - at);
      out.set(use, at);
      at += use.length;
      if (use.length < piece.length) left.unshift(piece.subarray(use.length));
    }
    held -= count;
    return out;
  }
  async function end() {
    if (held || await more()) throw new Error("Damaged scene: something follows its last section.");
  }
  return { take, end };
}

// Undo byte planes, zig-zag and differences along the named axes (last axis: points).
function unpack(data, { dtype, shape, delta }) {
  const width = { uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4 }[dtype];
  const count = shape.reduce((a, b) => a * b, 1);
  if (!width || data.length !== width * count)
    throw new Error("Damaged scene: a section has the wrong size.");
  const out = new { 1: Int8Array, 2: Int16Array, 4: Int32Array }[width](count);
  for (let i = 0; i < count; i++) {
    let code = 0;
    for (let b = width - 1; b >= 0; b--) code = (code << 8) | data[b * count + i];
    out[i] = (code >>> 1) ^ -(code & 1);
  }
  for (const axis of [...delta].reverse()) {
    const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    const length = shape[axis];
    for (let block = 0; block < count; block += stride * length)
      for (let i = block + stride; i < block + stride * length; i++) out[i] += out[i - stride];
  }
  return dtype.startsWith("u")
    ? new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[width](out.buffer)
    : out;
}
