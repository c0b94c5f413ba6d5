// Mouse, touch and keys -> camera and clock. Knows nothing of drawing.

const KEYS = [
  ["Space", "play / pause"], ["← →", "one frame back / on"], ["↑ ↓", "faster / slower"],
  ["L", "loop, back and forth, once"], ["1 … 9", "input view"], ["T", "tour of the input views"],
  ["R", "back to the start"], ["W A S D", "fly"], ["Q E", "fly down / up"],
  ["Shift + arrows", "turn around the scene"], ["+ −", "zoom the lens"], ["M", "colour, depth, motion"], ["P", "save a picture"],
  ["F", "full screen"],
  ["H", "hide everything"], ["?", "this list"],
];
const POINTER = [
  ["drag", "turn around the scene"], ["right or shift drag", "move sideways"],
  ["alt drag", "look around"], ["wheel", "nearer / farther"],
  ["double click", "put that point in the middle"],
];
const TOUCH = [
  ["one finger", "turn around the scene"], ["two fingers", "move and zoom"],
  ["double tap", "put that point in the middle"],
];

class Controls {
  // actions: play, step, speed, loop, view, tour, reset, mode, fullscreen, hide, help,
  // focus(x, y), touched
  constructor(canvas, camera, actions) {
    this.canvas = canvas;
    this.camera = camera;
    this.actions = actions;
    this.pointers = new Map();
    this.pinched = false; // two fingers were down, and one at least still is
    this.held = new Set();
    this.lastTap = { time: 0, x: 0, y: 0 };
    const listen = (target, type, handler) => target.addEventListener(type, handler.bind(this));
    listen(canvas, "pointerdown", this.down);
    listen(canvas, "pointermove", this.move);
    for (const type of ["pointerup", "pointercancel"]) listen(canvas, type, this.release);
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    listen(window, "keydown", this.key);
    listen(window, "keyup", (event) => this.held.delete(event.code));
    listen(window, "blur", () => this.held.clear());
  }

  focal() {
    const ratio = this.canvas.width / this.canvas.clientWidth || 1;
    return this.camera.project(this.canvas.width, this.canvas.height).focal[0] / ratio;
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.canvas.focus({ preventScroll: true });
    if (this.pointers.size > 1) { // a pinch is no tap
      this.pinched = true;
      this.lastTap.time = 0;
      return;
    }
    const { time, x, y } = this.lastTap;
    const near = Math.hypot(event.clientX - x, event.clientY - y) < 24;
    if (event.timeStamp - time < 320 && near) this.actions.focus(event.clientX, event.clientY);
    this.lastTap = { time: event.timeStamp, x: event.clientX, y: event.clientY };
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.pinched = false;
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const before = this.spread();
    const dx = event.clientX - last.x, dy = event.clientY - last.y;
    if (dx === 0 && dy === 0) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.actions.touched();
    if (this.pointers.size === 2) {
      const after = this.spread();
      this.camera.pan(after.x - before.x, after.y - before.y, this.focal());
      if (after.gap > 20 && before.gap > 20) this.camera.dolly(before.gap / after.gap);
    } else if (this.pointers.size === 1 && !this.pinched) { // the finger that leaves last is no turn
      const angle = 4.2 / Math.max(320, Math.min(this.canvas.clientWidth, 1200));
      if (event.buttons & 6 || event.shiftKey) this.camera.pan(dx, dy, this.focal());
      else if (event.altKey) this.camera.look(dx / this.focal(), -dy / this.focal());
      else this.camera.orbit(-dx * angle, dy * angle);
    }
  }

  // Middle and distance of two fingers.
  spread() {
    const [a, b] = [...this.pointers.values()];
    if (!b) return { x: a.x, y: a.y, gap: 0 };
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, gap: Math.hypot(a.x - b.x, a.y - b.y) };
  }

  wheel(event) {
    // Inside another page the wheel scrolls that page until someone has clicked here.
    if (document.body.classList.contains("bare") && document.activeElement !== this.canvas) return;
    event.preventDefault();
    this.actions.touched();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const amount = clamp(event.deltaY * lines, -240, 240);
    if (event.ctrlKey) this.camera.goal.zoom = clamp(
      this.camera.goal.zoom * Math.exp(-amount * 0.004), 0.3, 8);
    else this.camera.dolly(Math.exp(amount * 0.0012));
  }

  key(event) {
    const typing = event.target.closest && event.target.closest("select, input:not([type=range])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const { actions, camera } = this;
    // A button under the keyboard's focus is pressed by its own keys.
    if (event.target.closest?.("button") && ["Space", "Enter"].includes(event.code)) return;
    if (event.shiftKey && event.code.startsWith("Arrow")) {
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
        ArrowDown: [0, 1] }[event.code] ?? [0, 0];
      actions.touched();
      camera.orbit(-0.08 * x, 0.08 * y);
      event.preventDefault();
      return;
    }
    const zoom = (by) => { camera.goal.zoom = clamp(camera.goal.zoom * by, 0.3, 8); };
    const act = {
      Space: () => event.repeat || actions.play(), ArrowLeft: () => actions.step(-1),
      ArrowRight: () => actions.step(1), ArrowUp: () => actions.speed(1),
      ArrowDown: () => actions.speed(-1), KeyL: actions.loop, KeyT: actions.tour,
      KeyR: actions.reset, KeyM: actions.mode, KeyF: actions.fullscreen, KeyP: actions.save, KeyH: actions.hide,
      Home: () => actions.seek(0), End: () => actions.seek(1),
      Equal: () => zoom(1.12), NumpadAdd: () => zoom(1.12),
      Minus: () => zoom(1 / 1.12), NumpadSubtract: () => zoom(1 / 1.12),
    }[event.code];
    if (event.key === "?") actions.help(true);
    else if (event.key === "Escape") actions.help(false);
    else if (/^[1-9]$/.test(event.key)) actions.view(Number(event.key) - 1);
    else if (/^Key[WASDQE]$/.test(event.code)) {
      this.held.add(event.code);
      actions.touched();
    } else if (act) {
      act();
      event.preventDefault();
    }
  }

  // Keys held down move the camera for as long as they are held.
  step(seconds) {
    if (!this.held.size) return;
    const axis = (plus, minus) => this.held.has(plus) - this.held.has(minus);
    const speed = 0.7 * seconds;
    this.camera.fly(speed * axis("KeyD", "KeyA"), speed * axis("KeyQ", "KeyE"),
      speed * axis("KeyW", "KeyS"));
  }
}
