"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const state = { video: 0, t: 0, plane: 0, playing: false, shown: new Set(data.models.map((m) => m.name)) };
const sheet = new Image(); // the frames of the chosen video, side by side
const HOLD = 1; // seconds at the end before it begins again
let held = 0, before = null;

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (model) => (model.name === data.truth ? ink("--ink") : model.colour);
const chosen = () => data.videos[state.video];
const shown = () => data.models.filter((model) => state.shown.has(model.name));
const lastStep = () => chosen().n_steps;

/** A value of a path between two steps, on a straight line; null where a prediction is not finite. */
function between(values, t) {
  const k = Math.min(Math.floor(t), values.length - 1), next = Math.min(k + 1, values.length - 1);
  const [a, b] = [values[k], values[next]];
  if (a === null || b === null) return null;
  if (Array.isArray(a)) return a.map((_, i) => between([a[i], b[i]], t - k));
  return a + (b - a) * (t - k);
}

const panels = [
  new Table("table", [0, 0, 0, 0]),
  new Orbit("orbit", [8, 8, 40, 48]),
  new Curve("energy", "H", data.energy.limits, data.energy.band, "arbitrary units"),
  new Curve("error", "error", data.error.limits, [data.error.average], "MSE per dimension"),
];

function prepare() {
  if (window.frameElement) window.frameElement.style.height = `${document.documentElement.offsetHeight + 4}px`;
  panels.forEach((panel) => panel.prepare());
  draw();
}

function draw() {
  panels.forEach((panel) => panel.draw());
  const step = Math.round(state.t), video = chosen();
  at("step").value = step;
  at("time").textContent = `step ${step} of ${lastStep()}, ${(state.t * data.seconds).toFixed(2)} s`;
  for (const model of data.models) {
    const { error, off } = video.paths[model.name], parts = [];
    if (model.name !== data.truth) parts.push(error[step] === null ? "not finite" : `error ${error[step].toFixed(2)}`);
    if (off && off[step] !== null) parts.push(`${off[step].toFixed(0)} px off`);
    model.readout.textContent = parts.join(", ") || "from the encoder";
  }
}

function goTo(t) { state.t = Math.min(Math.max(t, 0), lastStep()); held = 0; draw(); }
function pause() { state.playing = false; showPlaying(); }
function play() {
  if (state.t >= lastStep()) goTo(0);
  state.playing = true;
  before = null;
  showPlaying();
  requestAnimationFrame(tick);
}
function showPlaying() { at("play").classList.toggle("playing", state.playing); }

function tick(now) {
  if (!state.playing) return;
  const passed = before === null ? 0 : Math.min((now - before) / 1000, 0.2);
  before = now;
  if (state.t < lastStep()) goTo(state.t + (passed * at("speed").value) / data.seconds);
  else if ((held += passed) > HOLD) goTo(0);
  requestAnimationFrame(tick);
}

function choose(index) {
  const n = data.videos.length;
  state.video = (index + n) % n;
  [...at("videos").children].forEach((button, k) => button.setAttribute("aria-pressed", k === state.video));
  sheet.src = chosen().sheet;
  at("step").max = lastStep();
  state.t = Math.min(state.t, lastStep());
  prepare();
}

function addButton(parent, html, pressed, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.innerHTML = html;
  button.setAttribute("aria-pressed", pressed);
  button.addEventListener("click", () => onClick(button));
  parent.append(button);
  return button;
}

data.videos.forEach((video, k) => {
  const button = addButton(at("videos"), '<img alt=""><span></span>', k === 0, () => choose(k));
  button.querySelector("img").src = video.thumbnail;
  button.querySelector("span").textContent = button.title = video.name;
});
for (const model of data.models) {
  const stroke = model.name === data.truth ? "currentColor" : model.colour;
  const sample = `<svg width="30" height="8"><line x1="0" x2="30" y1="4" y2="4" stroke="${stroke}" stroke-width="3" stroke-dasharray="${model.dash}"/></svg>`;
  const button = addButton(at("models"), `${sample}<span></span><small></small>`, true, (pressed) => {
    const on = !state.shown.has(model.name);
    on ? state.shown.add(model.name) : state.shown.delete(model.name);
    pressed.setAttribute("aria-pressed", on);
    prepare();
  });
  button.querySelector("span").textContent = model.name;
  model.readout = button.querySelector("small");
}
data.planes.forEach((plane, k) => at("plane").add(new Option(plane.name, k)));
at("table-title").textContent = data.videos[0].balls ? "The balls" : "The true frame";
at("table-note").textContent = data.videos[0].balls ? "rings: where a probe reads them in z" : "";
at("plane").addEventListener("change", () => { state.plane = Number(at("plane").value); prepare(); });
at("step").addEventListener("input", () => { pause(); goTo(Number(at("step").value)); });
at("play").addEventListener("click", () => (state.playing ? pause() : play()));
sheet.addEventListener("load", draw);
window.addEventListener("resize", prepare);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", prepare);

const keys = {
  ArrowRight: () => { pause(); goTo(Math.floor(state.t) + 1); },
  ArrowLeft: () => { pause(); goTo(Math.ceil(state.t) - 1); },
  ArrowDown: () => choose(state.video + 1),
  ArrowUp: () => choose(state.video - 1),
  Home: () => { pause(); goTo(0); },
  End: () => { pause(); goTo(lastStep()); },
  " ": () => (state.playing ? pause() : play()),
};
document.addEventListener("keydown", (event) => {
  const own = event.target.tagName === "SELECT" || (event.key === " " && event.target.tagName === "BUTTON");
  if (!keys[event.key] || own || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
});

/** #video=video_003&step=9 opens the page there, at rest. */
const wanted = new URLSearchParams(location.hash.slice(1));
state.t = Number(wanted.get("step")) || 0;
choose(Math.max(data.videos.findIndex((video) => video.name === wanted.get("video")), 0));
const still = wanted.has("step") || window.matchMedia("(prefers-reduced-motion: reduce)").matches;
still ? pause() : play();
