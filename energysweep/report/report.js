
"use strict";
// The page's own script. Its data stand in elements of the page: the charts, their colours on a dark page, the trials.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const onDark = read("dark");
const config = {displaylogo: false, responsive: true, displayModeBar: false};
const darkness = matchMedia("screen and (prefers-color-scheme: dark)");
let printing = false;

// Charts: each is drawn when it comes near the window, in the colours of the scheme; all of them before a print. ------

const COLOR = /color$/;
function inScheme(value, isColor, dark) {
  if (Array.isArray(value)) return value.map((each) => inScheme(each, isColor, dark));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, inScheme(each, COLOR.test(name), dark)]));
  }
  return dark && isColor && Object.hasOwn(onDark, value) ? onDark[value] : value;
}
function draw(place, plot) {
  const dark = darkness.matches && !printing;
  const {data: traces, layout} = inScheme(plot, false, dark);
  for (const trace of traces) {
    if (trace.meta === "labelled") trace.text = trace.customdata.map((number) => number === null ? null : trials.trials[number].label);
  }
  fit(layout, place);
  Plotly.react(place, traces, layout, config);
}
const SHEET = {wide: {width: 670, height: 880}, half: {width: 320, height: 740}};  // of A4, which no script can ask for
const NARROW = 420, TITLE = /(.{1,26})(?: |$)/g;
function fit(layout, place) {
  let width = place.clientWidth, scale = 1;
  if (printing) {  // a chart that is higher than a sheet becomes smaller as a whole: no sheet ends within it
    const sheet = place.closest(".wide") ? SHEET.wide : SHEET.half;
    scale = Math.min(1, sheet.height / layout.height);
    layout.width = width = sheet.width / scale;
  }
  place.style.zoom = scale;
  if (width >= NARROW) return;
  let more = 0;  // lines
  for (const [name, axis] of Object.entries(layout)) {
    const text = /^xaxis/.test(name) && axis.title?.text;
    if (!text || text.includes("<br>")) continue;
    axis.title.text = text.replace(TITLE, "$1<br>").replace(/<br>$/, "");
    more = Math.max(more, axis.title.text.split("<br>").length - 1);
  }
  layout.height += 16 * more;
  layout.margin.b += 16 * more;
}
const waiting = new Map();  // places of charts that are not drawn yet
const drawn = new Map();
function drawNow(place) {
  const plot = waiting.get(place);
  if (plot === undefined) return;
  waiting.delete(place);
  drawn.set(place, plot);
  watcher.unobserve(place);
  draw(place, plot);
  place.on("plotly_click", (event) => openTrial(event.points[0].customdata));
}
const watcher = new IntersectionObserver(
  (entries) => { for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target); }, {rootMargin: "400px"});
for (const [key, plot] of Object.entries(read("plots"))) {
  const place = document.getElementById(key);
  waiting.set(place, plot);
  watcher.observe(place);
}
function drawAgain() { for (const [place, plot] of drawn) draw(place, plot); }
darkness.addEventListener("change", drawAgain);
addEventListener("beforeprint", () => { printing = true; for (const place of [...waiting.keys()]) drawNow(place); drawAgain(); });
addEventListener("afterprint", () => { printing = false; drawAgain(); });

// Tables: a column's head sorts by it; words in the field above leave the rows that have them all. --------------------

function keyOf(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? (cell.dataset.value === "" ? null : Number(cell.dataset.value)) : cell.textContent.trim();
}
function sortBy(head) {
  const column = head.cellIndex, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);  // what is missing stays below
    const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true});
    return up ? order : -order;
  });
  body.append(...keyed.map(([, row]) => row));
}
for (const head of document.querySelectorAll("th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sortBy(head));
}
for (const field of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = field.parentNode.querySelector("output");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows.forEach((row, place) => { left += !(row.hidden = !words.every((word) => texts[place].includes(word))); });
    count.textContent = words.length ? `${left} of ${rows.length}` : "";
  });
}

// A trial: what a row of a table, or a point of a chart, opens. --------------------------------------------------------

const dialog = document.querySelector("dialog");
const trials = dialog && read("trials");
function element(name, text, ...within) {
  const made = document.createElement(name);
  made.append(...(text === null ? [] : [text]), ...within);
  return made;
}
function listOf(pairs) {
  return element("dl", null, ...pairs.map(([name, value]) => element("div", null, element("dt", name), element("dd", value))));
}
function openTrial(number) {
  const trial = dialog && typeof number === "number" ? trials.trials[number] : undefined;
  if (trial === undefined) return;
  const parts = [element("p", trial.what)];
  const section = (title, ...content) => parts.push(element("h3", title), ...content);
  if (trial.parameters.length) section("Parameters", listOf(trial.parameters));
  section("Energy and result", listOf(trials.names.map((name, place) => [name, trial.values[place]]).filter(([, value]) => value !== null)));
  const curve = element("div", null);
  if (trial.curve) section("Reports", element("p", trials.caption), curve);
  if (trial.attempts.length) section("Attempts", element("ol", null, ...trial.attempts.map((text) => element("li", text))));
  if (trial.error) section("Error", element("pre", trial.error));
  if (trial.others.length) {
    const buttons = trial.others.map(([name, other]) => {
      const button = element("button", name);
      button.type = "button";
      button.addEventListener("click", () => openTrial(other));
      return button;
    });
    const row = element("p", null, ...buttons);
    row.className = "others";
    section("The same configuration", row);
  }
  dialog.querySelector("h2").textContent = trial.title;
  dialog.querySelector(".content").replaceChildren(...parts);
  dialog.scrollTop = 0;
  if (!dialog.open) dialog.showModal();
  if (trial.curve) {
    const plot = structuredClone(trials.plot);
    trial.curve.y.forEach((y, place) => Object.assign(plot.data[place], {x: trial.curve.x, y}));
    draw(curve, plot);
  }
}
if (dialog) {
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-trial]");
    // Who marks a text in a row wants the text.
    if (row && (event.target.closest("button") || !getSelection().toString())) openTrial(Number(row.dataset.trial));
  });
}
