// The player: decoding and sorting through the worker, the clock, the draw loop, and the
// programmable surface `window.player` (docs/FORMATS.md).

class Player {
  constructor(canvas) {
    this.canvas = canvas;
    this.errors = [];
    this.time = 0;
    this.playing = false;
    this.direction = 1;
    this.speed = 1;
    this.loop = "pingpong"; // loop | pingpong | once
    this.touring = false;
    this.tourPhase = 0;
    this.quality = 1;
    this.sorted = null; // the state that the present order was made for
    this.fixed = null; // a camera set by setCamera: wins over the free camera
    this.listeners = { scene: [], change: [], progress: [], failure: [] };
    this.waiting = [];
    this.onStep = null;
    this.picks = new Map();
    this.nextId = 1;
    this.ready = new Promise((resolve, reject) => { this.settleReady = { resolve, reject }; });
    this.ready.catch(() => {});
  }

  on(name, listener) { this.listeners[name].push(listener); }
  emit(name, ...values) { for (const listener of this.listeners[name]) listener(...values); }

  fail(message) {
    this.errors.push(message);
    this.emit("failure", message);
    this.settleReady.reject(new Error(message));
  }

  // Start with the payload as base64 text, or as bytes or address of a .fr4d or .4dgs file.
  start(source, workerCode) {
    try {
      this.renderer = new Renderer(this.canvas, () =>
        this.fail("The graphics driver gave up; reload the page."));
      this.worker = makeWorker(workerCode);
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => this.fail(`Decoder: ${event.message}`);
    this.worker.postMessage({ type: "decode", ...source });
  }

  // Show another scene: an ArrayBuffer of a .fr4d or .4dgs file.
  load(bytes) {
    this.ready = new Promise((resolve, reject) => { this.settleReady = { resolve, reject }; });
    this.worker.postMessage({ type: "decode", bytes });
    return this.ready;
  }

  receive(message) {
    if (message.type === "progress") this.emit("progress", message.value, message.label);
    else if (message.type === "error") this.fail(message.message);
    else if (message.type === "scene") this.accept(message);
    else if (message.type === "part") this.extend(message);
    else if (message.type === "picked") {
      this.picks.get(message.id)(message.point);
      this.picks.delete(message.id);
    } else if (message.type === "order") {
      this.renderer.setOrder(message.order);
      this.sorted = this.requested;
      this.sorting = false;
      this.drawn = null;
    }
  }

  accept(message) {
    try {
      this.renderer.load(message);
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.info = message.info;
    this.duration = Math.max(this.info.times.length - 1, 0) / (this.info.fps || 8);
    this.speed = this.duration > 0 && this.duration < 1.2 ? 0.5 : 1;
    this.camera = new FreeCamera(this.info);
    this.fixed = this.drawn = this.requested = this.sorted = null;
    this.sorting = false;
    if (!this.running) requestAnimationFrame((now) => this.frame(now));
    this.running = true;
    const { resolve } = this.settleReady;
    this.settled().then(() => {
      this.emit("scene");
      if (this.playing || this.touring) resolve(); // no moment stays long enough to settle
      else this.settled().then(resolve);
    });
  }

  // More of the times are there.
  extend(part) {
    this.renderer.extend(part);
    this.info.ready = part.ready;
    this.drawn = this.requested = null;
    this.emit("change");
  }

  // The latest time that can be shown yet.
  until() { return this.info.times[this.info.ready - 1]; }

  // Resolves after a picture of the present time and camera, freshly sorted, was drawn.
  settled() { return new Promise((resolve) => this.waiting.push(resolve)); }

  play() {
    if (this.loop === "once" && this.time >= 1) this.time = 0;
    this.playing = this.info.times.length > 1;
    this.emit("change");
  }

  pause() {
    this.playing = false;
    this.emit("change");
  }

  seek(t) {
    this.time = clamp(Number(t) || 0, 0, 1);
    this.emit("change");
    return this.settled();
  }

  // One stored time back or on.
  step(by) {
    const { times } = this.info;
    const here = times.findIndex((t) => t > this.time + (by > 0 ? 1e-6 : -1e-6));
    const next = by > 0 ? here : (here < 0 ? times.length : here) - 1;
    this.pause();
    return this.seek(next < 0 ? (by > 0 ? times[0] : times.at(-1)) : times[next]);
  }

  setView(k, atOnce = false) {
    this.release();
    this.touring = false;
    this.camera.toView(k, atOnce);
    this.emit("change");
    return this.settled();
  }

  // Exactly this camera: w2c (16 numbers or 4x4, world to camera), K (9 numbers or 3x3),
  // size [height, width] in canvas pixels. The free camera waits until release().
  setCamera(w2c, K, size) {
    const k = K.flat();
    this.fixed = { w2c: w2c.flat(), focal: [k[0], k[4]], centre: [k[2], k[5]], range: [0.4, 4] };
    this.canvas.classList.add("fixed");
    this.canvas.width = size[1];
    this.canvas.height = size[0];
    this.canvas.style.width = `${size[1]}px`;
    this.canvas.style.height = `${size[0]}px`;
    return this.settled();
  }

  release() {
    if (!this.fixed) return;
    this.fixed = null;
    this.canvas.classList.remove("fixed");
    this.canvas.style.width = this.canvas.style.height = "";
  }

  // Options: fill (keep surfaces closed when closer than the input; on), mode 0 colour, 1 depth,
  // 2 motion, speed, loop.
  set(options) {
    if ("fill" in options) this.renderer.fill = options.fill ? 1 : 0;
    if ("mode" in options) this.renderer.mode = options.mode;
    if ("speed" in options) this.speed = options.speed;
    if ("loop" in options) this.loop = options.loop;
    this.drawn = null;
    this.emit("change");
  }

  tour(on) {
    this.release();
    this.touring = on;
    this.emit("change");
  }

  // The canvas as a PNG data URL.
  async capture() {
    await this.settled();
    return this.canvas.toDataURL("image/png");
  }

  async focus(x, y) { // page pixels: what is there becomes the centre
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const id = this.nextId++;
    const view = this.view();
    const point = await new Promise((resolve) => {
      this.picks.set(id, resolve);
      this.worker.postMessage({
        type: "pick", id, w2c: view.w2c, focal: view.focal, centre: view.centre,
        pixel: [x * ratio, y * ratio], time: this.time,
      });
    });
    if (!point) return;
    this.touring = false;
    this.camera.focus(point);
    this.emit("change");
  }

  view() { return this.fixed || this.camera.project(this.canvas.width, this.canvas.height); }

  frame(now) {
    requestAnimationFrame((next) => this.frame(next));
    const seconds = Math.min(0.1, (now - (this.lastFrame || now)) / 1000);
    this.lastFrame = now;
    this.advance(seconds);
    let moving = this.playing;
    if (!this.fixed) {
      if (this.onStep) this.onStep(seconds); // keys held down
      if (this.touring) this.followTour(seconds);
      moving = this.camera.step(seconds) || moving;
      this.resize(moving, now);
    }
    const view = this.view();
    const state = `${this.time} ${view.w2c}`;
    const picture = `${state} ${view.focal} ${this.canvas.width} ${this.canvas.height}`;
    if (this.requested !== state && !this.sorting) {
      this.sorting = true;
      this.requested = state;
      const row = view.w2c.slice(8, 12);
      this.worker.postMessage({ type: "sort", row, time: this.time });
    }
    if (picture !== this.drawn && this.sorted) {
      this.renderer.draw(view, this.moment());
      this.drawn = picture;
      this.measure(moving, seconds);
    }
    const there = this.info.ready === this.info.times.length || this.time <= this.until();
    if (this.waiting.length && there && this.sorted === state && this.drawn === picture) {
      for (const resolve of this.waiting.splice(0)) resolve();
    }
  }

  advance(seconds) {
    if (!this.playing || !this.duration) return;
    let t = this.time + (this.direction * this.speed * seconds) / this.duration;
    if (this.loop === "pingpong" && (t > 1 || t < 0)) {
      this.direction = t > 1 ? -1 : 1;
      t = clamp(t > 1 ? 2 - t : -t, 0, 1);
    } else if (this.loop === "loop" && t > 1) t %= 1;
    else if (this.loop === "once" && t >= 1) {
      t = 1;
      this.playing = false;
    }
    if (this.loop !== "pingpong") this.direction = 1;
    this.time = clamp(t, 0, Math.max(this.until(), Math.min(1, this.time)));
    this.emit("change");
  }

  followTour(seconds) {
    const last = this.camera.views.length - 1;
    this.tourPhase += (seconds * 2 * Math.PI) / Math.max(9, 2 * last);
    this.camera.toPath(last * (0.5 - 0.5 * Math.cos(this.tourPhase)), this.tourPhase);
  }

  // Canvas pixels follow the device's; coarser while moving when frames come too slowly.
  resize(moving, now) {
    if (moving) this.lastMoved = now;
    const still = now - (this.lastMoved || 0) > 400;
    const ratio = Math.min(window.devicePixelRatio || 1, 3) * (still ? 1 : this.quality);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.drawn = null;
  }

  measure(moving, seconds) {
    this.pace = 0.9 * (this.pace || seconds) + 0.1 * seconds;
    this.paceCount = moving ? (this.paceCount || 0) + 1 : 0;
    if (this.paceCount < 15) return;
    if (this.pace > 0.042 && this.quality > 0.4) this.quality *= 0.75;
    else if (this.pace < 0.02 && this.quality < 1) this.quality = Math.min(1, this.quality / 0.9);
    else return;
    this.paceCount = 0;
  }

  moment() { return momentAt(this.info.times, this.time, this.info.curved, this.info.ready); }
}

// A worker from the code in the page; where the browser refuses (some forbid it for local
// files), the same code runs on the page's own thread.
function makeWorker(code) {
  try {
    return new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  } catch (error) {
    console.warn(`No worker (${error.message}): sorting on the page's own thread.`);
    const outer = {};
    const inner = { postMessage: (data) => setTimeout(() => outer.onmessage({ data }), 0) };
    new Function("self", code)(inner);
    outer.postMessage = (data) => setTimeout(() => inner.onmessage({ data }), 0);
    return outer;
  }
}
