// The clip on the page: pictures, and a motion curve on which onset, apex and offset are dragged.
//
// Given by gr.HTML: element, trigger, props, watch. `props.value` is what `views.clip_payload` makes; pictures come with a
// new clip only. What the visitor chooses goes back as the data of an "input" event: {id, asked, onset, apex, offset}, or
// {id, asked, onset, offset, spot: true} for an apex to be spotted; both `id` and `asked` come back in the answer, so
// that an answer to an older question is not shown.
const NAMES = ["onset", "apex", "offset"];
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 40, right: 16, top: 68, bottom: 40 };
const PILL = { width: 58, height: 20 };
const REACH = 24; // pixels from a line within which a finger takes hold of it
const root = element.querySelector(".hsta-clip");
const find = (selector) => root.querySelector(selector);
const plot = find(".hsta-plot");
const readout = find(".hsta-readout");
const statusLine = find(".hsta-status");
const playButton = find(".hsta-play");
const face = find(".hsta-face canvas");

let clip = null; // {id, times, faces: Image[]}
let curve = [];
let marks = { onset: 0, apex: 0, offset: 0 };
let layers = []; // [{canvas, frames, pictures: Image[]}]
let cursor = 0;
let asked = 0;
let held = null; // name of the mark that is dragged, or "cursor"
let missed = false; // whether an answer came meanwhile
let timer = null;
let waiting = null;

// --- small helpers -------------------------------------------------------------------------------------------------
function make(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}
function picture(uri) {
  const made = new Image();
  made.onload = show;
  made.src = uri;
  return made;
}
function draw(canvas, image) {
  if (image && image.complete && image.naturalWidth) {
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  }
}
const last = () => clip.times.length - 1;
const capital = (name) => name[0].toUpperCase() + name.slice(1);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
function limits(name) {
  if (name === "onset") return [0, marks.apex];
  if (name === "apex") return [marks.onset, marks.offset];
  return [marks.apex, last()];
}
const seconds = (frame) => clip.times[frame].toFixed(2) + " s";

// --- pictures ------------------------------------------------------------------------------------------------------
function show() {
  if (!clip) return;
  draw(face, clip.faces[cursor]);
  for (const layer of layers) {
    let nearest = 0;
    for (let i = 1; i < layer.frames.length; i++) {
      if (Math.abs(layer.frames[i] - cursor) < Math.abs(layer.frames[nearest] - cursor)) nearest = i;
    }
    draw(layer.canvas, layer.pictures[nearest]);
  }
  const names = NAMES.filter((name) => marks[name] === cursor);
  readout.textContent = "Frame " + cursor + " of 0 to " + last() + ", " + seconds(cursor) +
    (names.length ? " (" + names.join(", ") + ")" : "");
  const line = plot.querySelector(".hsta-cursor");
  if (line) {
    line.setAttribute("x1", across(cursor));
    line.setAttribute("x2", across(cursor));
  }
}
function setLayers(overlay) {
  root.querySelectorAll(".hsta-layer").forEach((old) => old.remove());
  layers = overlay.streams.map((stream) => {
    const figure = document.createElement("figure");
    figure.className = "hsta-layer";
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 224;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "What counted for " + overlay.label + ", " + stream.name);
    const caption = document.createElement("figcaption");
    const more = document.createElement("span");
    more.textContent = ": what counted for “" + overlay.label + "”";
    caption.append(stream.name, more);
    figure.append(canvas, caption);
    find(".hsta-pictures").appendChild(figure);
    return { canvas, frames: overlay.frames, pictures: stream.pictures.map(picture) };
  });
}
function play() {
  const playing = timer === null;
  clearInterval(timer);
  timer = null;
  if (playing) {
    if (cursor < marks.onset || cursor >= marks.offset) cursor = marks.onset;
    timer = setInterval(() => {
      cursor = cursor >= marks.offset ? marks.onset : cursor + 1;
      show();
    }, 125);
  }
  playButton.textContent = playing ? "Pause" : "Play slowly";
  playButton.setAttribute("aria-pressed", String(playing));
}
function stop() {
  if (timer !== null) play();
}

// --- the curve -----------------------------------------------------------------------------------------------------
const size = { width: 0, height: 250 };
function across(frame) {
  const room = size.width - MARGIN.left - MARGIN.right;
  return MARGIN.left + (last() ? (room * frame) / last() : room / 2);
}
function frameAt(x) {
  const room = size.width - MARGIN.left - MARGIN.right;
  return clamp(Math.round(((x - MARGIN.left) / room) * last()), 0, last());
}
function niceStep(range, ticks) {
  const rough = range / ticks;
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}
function drawPlot() {
  if (!clip || !plot.clientWidth) return;
  size.width = plot.clientWidth;
  const focused = document.activeElement && document.activeElement.getAttribute("data-mark");
  plot.textContent = "";
  const svg = make("svg", { width: size.width, height: size.height, role: "group",
    "aria-label": "Motion since the onset, with onset, apex and offset to be moved" }, plot);
  const bottom = size.height - MARGIN.bottom;
  const highest = Math.max(0.2, ...curve) * 1.1;
  const up = (value) => bottom - ((bottom - MARGIN.top) * value) / highest;
  make("rect", { class: "hsta-span", x: across(marks.onset), y: MARGIN.top, height: bottom - MARGIN.top,
    width: Math.max(across(marks.offset) - across(marks.onset), 0) }, svg);
  const step = niceStep(highest, 3);
  for (let value = 0; value <= highest; value += step) {
    make("line", { class: "hsta-grid", x1: MARGIN.left, x2: size.width - MARGIN.right, y1: up(value), y2: up(value) }, svg);
    make("text", { class: "hsta-tick", x: MARGIN.left - 6, y: up(value) + 4, "text-anchor": "end" }, svg,
      String(Number(value.toFixed(2))));
  }
  const every = Math.max(1, Math.ceil(niceStep(Math.max(last(), 1), size.width / 70)));
  for (let frame = 0; frame <= last(); frame += every) {
    make("text", { class: "hsta-tick", x: across(frame), y: bottom + 16, "text-anchor": "middle" }, svg, String(frame));
  }
  make("text", { class: "hsta-tick", x: (MARGIN.left + size.width - MARGIN.right) / 2, y: size.height - 5,
    "text-anchor": "middle" }, svg, "frame");
  const points = curve.map((value, frame) => across(frame).toFixed(1) + "," + up(value).toFixed(1));
  make("polyline", { class: "hsta-line", points: points.join(" ") }, svg);
  curve.forEach((value, frame) => make("circle", { class: "hsta-dot", cx: across(frame), cy: up(value), r: last() > 60 ? 1 : 2.5 }, svg));
  make("line", { class: "hsta-cursor", y1: MARGIN.top, y2: bottom }, svg);
  NAMES.forEach((name, row) => drawMark(svg, name, row, bottom));
  svg.addEventListener("pointerdown", (event) => take(event, svg));
  svg.addEventListener("pointermove", (event) => move(event, svg));
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  if (focused) plot.querySelector('[data-mark="' + focused + '"]').focus({ preventScroll: true });
  show();
}
function drawMark(svg, name, row, bottom) {
  const x = across(marks[name]);
  const top = 2 + row * (PILL.height + 2);
  const [low, high] = limits(name);
  const group = make("g", { class: "hsta-mark hsta-" + name, tabindex: 0, role: "slider", "data-mark": name,
    "aria-label": capital(name), "aria-valuemin": low, "aria-valuemax": high, "aria-valuenow": marks[name],
    "aria-valuetext": "frame " + marks[name] + ", " + seconds(marks[name]) }, svg);
  make("line", { x1: x, x2: x, y1: top + PILL.height, y2: bottom }, group);
  const left = clamp(x - PILL.width / 2, 0, size.width - PILL.width);
  make("rect", { x: left, y: top, width: PILL.width, height: PILL.height, rx: 6 }, group);
  make("text", { x: left + PILL.width / 2, y: top + 14.5, "text-anchor": "middle" }, group, name);
  group.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5, Home: -1e6, End: 1e6 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    set(name, marks[name] + steps[event.key]);
    askSoon();
  });
}

// --- moving the marks ----------------------------------------------------------------------------------------------
function place(event, svg) {
  const box = svg.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
function take(event, svg) {
  const [x, y] = place(event, svg);
  const row = Math.floor((y - 2) / (PILL.height + 2));
  const near = (name) => Math.abs(across(marks[name]) - x);
  let name = null;
  if (row >= 0 && row < NAMES.length && near(NAMES[row]) <= PILL.width) name = NAMES[row]; // on its label
  else name = NAMES.filter((one) => near(one) <= REACH).sort((one, other) => near(one) - near(other))[0];
  stop();
  held = name || "cursor";
  svg.setPointerCapture(event.pointerId);
  event.preventDefault();
  if (name) plot.querySelector('[data-mark="' + name + '"]').focus({ preventScroll: true });
  move(event, svg);
}
function move(event, svg) {
  if (!held) return;
  const frame = frameAt(place(event, svg)[0]);
  if (held === "cursor") {
    cursor = frame;
    show();
  } else {
    set(held, frame);
  }
}
function release() {
  if (!held) return;
  held = null;
  drawPlot();
  askSoon(0);
}
function set(name, frame) {
  const [low, high] = limits(name);
  marks[name] = clamp(frame, low, high);
  cursor = marks[name];
  // While a finger holds the plot it must not be made anew, or the hold would be lost.
  if (held) slide(name);
  else drawPlot();
  fillSteppers();
  show();
}
function slide(name) {
  const group = plot.querySelector('[data-mark="' + name + '"]');
  const x = across(marks[name]);
  const left = clamp(x - PILL.width / 2, 0, size.width - PILL.width);
  group.querySelector("line").setAttribute("x1", x);
  group.querySelector("line").setAttribute("x2", x);
  group.querySelector("rect").setAttribute("x", left);
  group.querySelector("text").setAttribute("x", left + PILL.width / 2);
  const span = plot.querySelector(".hsta-span");
  span.setAttribute("x", across(marks.onset));
  span.setAttribute("width", Math.max(across(marks.offset) - across(marks.onset), 0));
}
let answered = null; // the marks that were last asked about
let shown = null; // those of the answer that is shown
function askSoon(delay = 400) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    waiting = null;
    if (JSON.stringify(marks) !== JSON.stringify(answered)) {
      ask({ onset: marks.onset, apex: marks.apex, offset: marks.offset });
    } else if (missed) {
      receive();
    }
    missed = false;
  }, delay);
}
function ask(question) {
  clearTimeout(waiting);
  waiting = null;
  answered = { ...marks };
  asked += 1;
  statusLine.textContent = "Computing …";
  root.classList.add("is-busy");
  trigger("input", { ...question, asked, id: clip.id });
}

// --- steppers: the same by one frame, for thumbs -------------------------------------------------------------------
const values = {};
for (const name of NAMES) {
  const box = document.createElement("div");
  box.className = "hsta-stepper hsta-" + name;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", capital(name));
  const label = document.createElement("span");
  label.className = "hsta-stepper-name";
  label.textContent = capital(name);
  values[name] = document.createElement("output");
  box.appendChild(label);
  for (const [sign, text, words] of [[-1, "−", " one frame earlier"], [1, "+", " one frame later"]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", capital(name) + words);
    button.addEventListener("click", () => {
      stop();
      set(name, marks[name] + sign);
      askSoon();
    });
    if (sign > 0) box.appendChild(values[name]);
    box.appendChild(button);
  }
  find(".hsta-steppers").appendChild(box);
}
function fillSteppers() {
  for (const name of NAMES) values[name].textContent = marks[name];
}

// --- what the server says ------------------------------------------------------------------------------------------
function receive() {
  const value = props.value;
  if (!value || !value.id) {
    stop();
    clip = null;
    root.classList.add("is-empty");
    return;
  }
  if (value.faces) {
    stop();
    find(".hsta-face figcaption").textContent = value.aligned ? "Aligned face" : "Frame as it came";
    clip = { id: value.id, times: value.times, faces: value.faces.map(picture) };
  } else if (!clip || value.id !== clip.id || value.asked < asked) {
    return; // of a clip that is not shown any more, or to an older question
  } else if (held || waiting !== null) {
    missed = true; // not under the visitor's finger
    return;
  }
  root.classList.remove("is-empty", "is-busy");
  if (value.failed) {
    statusLine.textContent = value.failed;
    marks = { ...shown };
    answered = { ...shown };
    fillSteppers();
    drawPlot();
    return;
  }
  curve = value.curve;
  marks = { onset: value.onset, apex: value.apex, offset: value.offset };
  answered = { ...marks };
  shown = { ...marks };
  cursor = value.faces || value.spotted ? marks.apex : clamp(cursor, 0, last());
  setLayers(value.overlay);
  statusLine.textContent = value.said;
  fillSteppers();
  drawPlot();
  // On a phone the clip lies below what was pressed.
  if (value.faces && root.getBoundingClientRect().top > window.innerHeight / 2) {
    root.scrollIntoView({ block: "start", behavior: "smooth" });
  }
}

playButton.textContent = "Play slowly";
playButton.addEventListener("click", play);
find(".hsta-spot").addEventListener("click", () => {
  stop();
  ask({ onset: marks.onset, offset: marks.offset, spot: true });
});
new ResizeObserver(() => {
  if (plot.clientWidth !== size.width) drawPlot();
}).observe(plot);
watch("value", receive);
receive();
