// The page around the player: buttons, slider, legend, progress, messages, address options.
// index.html?bare&autoplay&time=0.5 (for an <iframe>) or index.html#t=0.5&view=2&pause&bare&mode=1&
// speed=0.5 opens it in that state.

const $ = (id) => document.getElementById(id);
const ICONS = {
  play: '<svg viewBox="0 0 24 24"><path d="M7 4.5v15l13-7.5z"/></svg>',
  pause: '<svg viewBox="0 0 24 24"><path d="M7 5h3v14H7zM14 5h3v14h-3z"/></svg>',
  loop: '<svg viewBox="0 0 24 24"><path d="M5 12a6 6 0 0 1 6-6h8m-3-3 3 3-3 3M19 12a6 6 0 0 1-6 6H5m3 3-3-3 3-3"/></svg>',
  pingpong: '<svg viewBox="0 0 24 24"><path d="M3 12h18M6 8l-4 4 4 4M18 8l4 4-4 4"/></svg>',
  once: '<svg viewBox="0 0 24 24"><path d="M3 12h14m-5-5 5 5-5 5M21 5v14"/></svg>',
};
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const LOOPS = ["pingpong", "loop", "once"];
const LOOP_NAMES = { pingpong: "Back and forth", loop: "Loop", once: "Once" };
const MODES = ["Colour", "Depth", "Motion"];

// What the address asks for; the part behind # wins.
function askedFor() {
  const options = new URLSearchParams(location.search);
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) options.set(key, value);
  if (options.has("time") && !options.has("t")) {
    options.set("t", options.get("time"));
    if (!options.has("autoplay")) options.set("pause", "");
  }
  return options;
}

function openPage() {
  clearInterval(watch);
  const options = askedFor();
  if (options.has("bare")) document.body.classList.add("bare");
  const player = new Player($("canvas"));
  window.player = player;
  window.addEventListener("error", (event) => player.errors.push(event.message));
  window.addEventListener("unhandledrejection", (event) => player.errors.push(`${event.reason}`));

  player.on("progress", (value, label) => {
    $("stage").textContent = label;
    $("progress").value = value;
  });
  player.on("failure", (message) => {
    $("failure").textContent = message;
    $("failure").hidden = false;
    $("loading").classList.add("done");
  });
  $("failure").onclick = () => { $("failure").hidden = Boolean(player.info); };
  player.on("change", () => showState(player));
  player.on("scene", () => {
    showScene(player, options);
    $("failure").hidden = true;
    $("loading").classList.add("done");
    $("poster").classList.add("done");
    say(`${document.title}: ${$("facts").textContent}`);
  });

  for (const kind of ["dragover", "drop"])
    window.addEventListener(kind, (event) => event.preventDefault());
  window.addEventListener("drop", async (event) => {
    const file = event.dataTransfer.files[0];
    if (!file) return;
    try {
      await player.load(await file.arrayBuffer());
    } catch {
      return; // said on the page, where the scene before stays
    }
    document.title = $("title").textContent = file.name.replace(/\.(4dgs|fr4d)$/, "");
  });
  const { src, bytes } = $("payload").dataset;
  const source = src ? { url: new URL(src, document.baseURI).href, size: Number(bytes) }
    : { base64: $("payload").textContent };
  player.start(source, $("worker").textContent);
}

// For screen readers; nobody else sees it.
const say = (text) => { $("said").textContent = text; };

function showScene(player, options) {
  const { info } = player;
  const number = (n) => n.toLocaleString("en").replace(/,/g, "\u202f");
  const size = info.packedBytes / 1e6;
  const facts = [`${number(info.points)} points`];
  if (info.times.length > 1) facts.push(`${number(info.moving)} moving`,
    `${info.times.length} times`);
  facts.push(`${info.cameras.length} view${info.cameras.length > 1 ? "s" : ""}`,
    `${size < 0.995 ? `${Math.round(size * 1000)} kB` : `${size.toFixed(1)} MB`}`);
  $("facts").textContent = facts.join(" · ");
  $("clock").hidden = info.times.length < 2;
  $("ticks").innerHTML = info.times.length > 64 ? "" :
    info.times.map((t) => `<i style="left:${100 * t}%"></i>`).join("");

  const views = $("views");
  views.innerHTML = "<span>Views</span>";
  const shown = Math.min(info.cameras.length, 64);
  for (let k = 0; k < shown; k++) {
    const button = document.createElement("button");
    button.textContent = k + 1;
    button.title = `Input view ${k + 1}`;
    button.setAttribute("aria-label", button.title);
    button.onclick = () => player.setView(k);
    views.append(button);
  }
  bindActions(player);
  const still = options.has("pause");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (options.has("mode")) player.set({ mode: Number(options.get("mode")) % 3 || 0 });
  if (options.has("speed")) player.set({ speed: Number(options.get("speed")) || 1 });
  if (options.has("view")) player.setView(Number(options.get("view")) || 0, true);
  if (options.has("t")) player.seek(options.get("t"));
  if (options.has("autoplay") || (!still && !calm)) player.play();
  player.touring = !still && !calm && !options.has("view");
  showState(player);
}

function bindActions(player) {
  let before = null; // what had the keyboard's focus before the legend
  const choose = (list, value, by) => list[(list.indexOf(value) + by + list.length) % list.length];
  const actions = {
    play: () => (player.playing ? player.pause() : player.play()),
    step: (by) => player.step(by),
    seek: (t) => player.seek(t),
    speed: (by) => {
      const k = SPEEDS.indexOf(player.speed);
      player.set({ speed: SPEEDS[clamp((k < 0 ? 3 : k) + by, 0, SPEEDS.length - 1)] });
    },
    loop: () => player.set({ loop: choose(LOOPS, player.loop, 1) }),
    view: (k) => k < player.info.cameras.length && player.setView(k),
    tour: () => player.tour(!player.touring),
    reset: () => {
      player.set({ mode: 0 });
      player.setView(0);
    },
    mode: () => player.set({ mode: (player.renderer.mode + 1) % 3 }),
    save: async () => {
      const link = document.createElement("a");
      link.href = await player.capture();
      link.download = `${document.title || "scene"}.png`;
      link.click();
    },
    fullscreen: () => (document.fullscreenElement ? document.exitFullscreen()
      : document.documentElement.requestFullscreen?.()),
    hide: () => document.body.classList.toggle("bare"),
    help: (show) => {
      if (show === !$("legend").hidden) return;
      if (show) before = document.activeElement;
      $("legend").hidden = !show;
      $("help").setAttribute("aria-expanded", `${show}`);
      if (show) $("legend").focus({ preventScroll: true });
      else before?.focus({ preventScroll: true }); // back to where the keys were
    },
    focus: (x, y) => player.focus(x, y),
    touched: () => {
      player.release();
      if (player.touring) player.tour(false);
    },
  };
  if (player.controls) { // another scene in the same page: only the camera is new
    player.controls.camera = player.camera;
    return;
  }
  player.controls = new Controls(player.canvas, player.camera, actions);
  player.onStep = (seconds) => player.controls.step(seconds);
  $("tour").onclick = actions.tour;
  $("play").onclick = actions.play;
  $("speed").onclick = () => player.set({ speed: choose(SPEEDS, player.speed, 1) });
  $("loop").onclick = actions.loop;
  $("mode").onclick = actions.mode;
  $("help").onclick = () => actions.help($("legend").hidden);
  $("fullscreen").onclick = actions.fullscreen;
  $("fullscreen").hidden = !document.documentElement.requestFullscreen;
  $("time").oninput = () => {
    if (player.playing) player.pause();
    player.seek($("time").value);
  };
  const touch = matchMedia("(pointer: coarse)").matches;
  const list = (rows) => `<dl>${rows.map(([k, v]) => `<dt>${k}</dt><dd>${v}</dd>`).join("")}</dl>`;
  $("legend").innerHTML = touch ? list(TOUCH) : list(POINTER) + list(KEYS);
}

// What the buttons and the slider say; touches the page only where something changed.
function showState(player) {
  if (!player.info) return;
  const put = (id, key, value) => { if ($(id)[key] !== value) $(id)[key] = value; };
  const label = (id, key, value) => {
    if ($(id).getAttribute(key) !== value) $(id).setAttribute(key, value);
  };
  if (player.shownPlaying !== player.playing) {
    $("play").innerHTML = player.playing ? ICONS.pause : ICONS.play;
    $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    player.shownPlaying = player.playing;
  }
  if (player.shownLoop !== player.loop) {
    $("loop").innerHTML = ICONS[player.loop];
    $("loop").title = `${LOOP_NAMES[player.loop]} (L)`;
    $("loop").setAttribute("aria-label", `Loop: ${LOOP_NAMES[player.loop].toLowerCase()}`);
    player.shownLoop = player.loop;
  }
  put("time", "value", player.time);
  $("time").style.setProperty("--done", `${100 * player.time}%`);
  const seconds = (player.time * player.duration).toFixed(2);
  put("now", "textContent", `${seconds} s`);
  if (!player.playing) label("time", "aria-valuetext", `${seconds} seconds`);
  put("speed", "textContent", `${player.speed}×`);
  label("speed", "aria-label", `Speed ${player.speed}`);
  put("mode", "textContent", MODES[player.renderer.mode]);
  label("mode", "aria-label", `Shown: ${MODES[player.renderer.mode].toLowerCase()}`);
  const { goal, views } = player.camera;
  const at = player.touring ? -1 : views.findIndex((v) =>
    length(add(v.position, goal.position, -1)) + length(add(v.axes[2], goal.axes[2], -1)) < 1e-6);
  [...$("views").querySelectorAll("button")].forEach((button, k) => {
    if (k === at && !button.classList.contains("on"))
      button.scrollIntoView({ block: "nearest", inline: "nearest" });
    button.classList.toggle("on", k === at);
    if (button.getAttribute("aria-pressed") !== `${k === at}`)
      button.setAttribute("aria-pressed", `${k === at}`);
  });
  $("tour").classList.toggle("on", player.touring);
  label("tour", "aria-pressed", `${player.touring}`);
}

openPage();
