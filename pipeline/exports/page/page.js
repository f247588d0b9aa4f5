"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const original = data.content.utterances.map((u, picture) => ({ ...u, picture }));
const labels = data.content.labels;
const key = "merc " + data.key;
const $ = (id) => document.getElementById(id);
const player = $("player");
const duration = Math.max(data.content.duration || 0, ...original.map((u) => u.end), 0.001);
/* What can be edited, and where the rest is: browsers keep 5 MB, evidence can be longer. */
const KEPT = ["picture", "start", "end", "speaker", "text", "emotion", "edited",
  "words", "probability"]; // the last one is of words
const LIKELY_OVERLAP = 0.7; // as in the warning of `merc label`
const AT_ONCE = 100; // rows of the transcript; more follow when the browser has time
const past = [];
let utterances = restore() || original;
let current = -1;
let pixels = 0; // per second; 0: the whole recording fits
let rows = [], blocks = [];
let pictures = null; // of faces: they come last in the page, after the first view
let time = 0; // of the player, or of the last seek if nothing can be played

function restore() {
  try {
    const stored = JSON.parse(localStorage.getItem(key));
    const whole = stored.map((u) =>
      withOwnWords({ ...(original[u.picture] || NO_EVIDENCE), ...u }));
    return isList(whole) ? whole : null;
  } catch { return null; }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((n) => String(n).padStart(2, "0"));
  return (whole >= 3600 ? Math.floor(whole / 3600) + ":" : "") + parts.join(":");
}

function paint(node, emotion) {
  const [colour, ink] = data.colours[labels.indexOf(emotion)] || ["#ddd", "#000"];
  node.style.setProperty("--colour", colour);
  node.style.setProperty("--ink", ink);
  return node;
}

function letter(emotion) { return data.letters[labels.indexOf(emotion)] || "?"; }

function chip(utterance) {
  const made = paint(element("span", "chip"), utterance.emotion);
  made.textContent = utterance.emotion;
  if (isUncertain(utterance)) {
    made.classList.add("unsure");
    made.textContent += " (uncertain)";
  }
  return made;
}

/* ---- draw ---- */

function rowOf(u) {
  const item = element("li");
  const button = element("button");
  button.type = "button";
  button.tabIndex = -1;
  const who = element("span", "who", u.speaker || "unknown");
  if (u.edited && Object.keys(u.edited).length) who.classList.add("edited");
  button.append(element("span", "when", clock(u.start)), who, chip(u),
    element("span", "what", u.text || "(no words)"));
  item.append(button);
  return item;
}

/* Add rows to the transcript, up to a number of them. */
function drawRows(count) {
  const items = utterances.slice(rows.length, count).map(rowOf);
  rows.push(...items.map((item) => item.firstChild));
  $("list").append(...items);
}

function drawRest(list) {
  if (rows.length >= utterances.length || !list.isConnected) return;
  setTimeout(() => {
    if (!list.isConnected) return;
    drawRows(rows.length + 2 * AT_ONCE);
    drawRest(list);
  });
}

function drawAll() {
  const list = element("ol");
  list.id = "list";
  $("list").replaceWith(list);
  rows = [];
  drawRows(AT_ONCE);
  list.addEventListener("click", (event) => {
    const index = rows.indexOf(event.target.closest("button"));
    if (index >= 0) seek(utterances[index].start);
  });
  drawTimeline();
  $("count").textContent = utterances.length +
    (utterances.length === 1 ? " utterance, " : " utterances, ") + clock(duration);
  current = -1;
  show(indexAt(utterances, time));
  drawRest(list);
  $("undo").disabled = !past.length;
  $("discard").disabled = utterances === original;
}

function drawTimeline() {
  const speakers = [...new Set(utterances.map((u) => u.speaker))];
  const lanes = new Map();
  $("lanes").replaceChildren(...speakers.map((speaker) => {
    const lane = element("div", "lane");
    lane.append(element("span", "name", speaker || "unknown"));
    lanes.set(speaker, lane);
    return lane;
  }));
  blocks = utterances.map((u) => {
    const block = paint(element("div", "block", letter(u.emotion)), u.emotion);
    block.style.left = 100 * u.start / duration + "%";
    block.style.width = 100 * (u.end - u.start) / duration + "%";
    block.title = u.emotion + ": " + u.text;
    lanes.get(u.speaker).append(block);
    return block;
  });
  scaleTimeline();
}

function scaleTimeline() {
  const width = Math.max($("scroll").clientWidth, pixels * duration);
  $("timeline").style.width = pixels ? width + "px" : "100%";
  const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200];
  const step = steps.find((s) => s * width / duration >= 70) || duration;
  const ticks = [];
  for (let t = 0; t < duration && ticks.length < 2000; t += step) {
    const tick = element("span", "", clock(t));
    tick.style.left = 100 * t / duration + "%";
    ticks.push(tick);
  }
  $("ticks").replaceChildren(...ticks);
}

function drawLegend() {
  $("legend").replaceChildren(...labels.map((label, k) => {
    const item = element("li");
    const mark = paint(element("span", "chip", data.letters[k]), label);
    item.append(mark, " " + label);
    return item;
  }));
  labels.forEach((label, k) => {
    const curve = document.getElementById("curve-" + k);
    if (curve) {
      for (const path of curve.querySelectorAll("path")) {
        path.style.stroke = data.colours[k][0];
        path.style.strokeDasharray = ["", "8 3", "2 3", "12 3 2 3"][k % 4];
      }
    }
  });
}

function show(index) {
  if (index === current) return;
  if (rows[current]) {
    rows[current].removeAttribute("aria-current");
    rows[current].tabIndex = -1;
    blocks[current].classList.remove("now");
  }
  current = index;
  drawRows(index + 1);
  const row = rows[index];
  if (row) {
    row.setAttribute("aria-current", "true");
    row.tabIndex = 0;
    blocks[index].classList.add("now");
    bringIntoView(row.parentElement, 4);
  }
  if (!$("form")) drawEvidence();
}

/* Only the transcript scrolls. Rows out of view have estimated heights, so look again. */
function bringIntoView(item, tries) {
  const box = $("transcript").getBoundingClientRect();
  const place = item.getBoundingClientRect();
  if (place.top >= box.top && place.bottom <= box.bottom) return;
  $("transcript").scrollTop += place.top - box.top - box.height / 3;
  if (tries) requestAnimationFrame(() => { if (item.isConnected) bringIntoView(item, tries - 1); });
}

function drawEvidence() {
  const u = utterances[current];
  if (!u) { $("evidence").replaceChildren("No utterances."); return; }
  const parts = [];
  const picture = pictureOf(u);
  if (picture) {
    const image = element("img");
    image.src = "data:image/jpeg;base64," + picture;
    image.alt = "Face of the speaker";
    parts.push(image);
  }
  const head = element("p");
  head.append(chip(u), " ");
  if (u.confidence !== null && !(u.edited || {}).emotion) {
    head.append(Math.round(100 * u.confidence) + " % · ");
  }
  head.append((u.speaker || "unknown") + " · " + u.start.toFixed(1) + "–" + u.end.toFixed(1) + " s");
  parts.push(head, element("p", "text", u.text || "(no words)"));
  if (!(u.picture in original)) {
    parts.push(element("p", "", "Added by hand: the model has not seen this utterance."));
  }
  const overlap = (u.modalities.audio || {}).overlap;
  if (overlap >= LIKELY_OVERLAP) {
    parts.push(element("p", "", "Two people probably speak at once here (" +
      Math.round(100 * overlap) + " %): voice and words may be those of both."));
  }
  const present = Object.entries(u.modalities).filter(([, about]) => about.probabilities);
  if (present.length) parts.push(sentence(u, present), tableOf(u, present));
  for (const [name, about] of Object.entries(u.modalities)) {
    if (!about.present) parts.push(element("p", "", name + " is missing: " + (about.reason || "?")));
    if (name === "visual" && about.present && "confidence" in about) {
      parts.push(element("p", "", "This is the speaker's face with a confidence of " +
        about.confidence.toFixed(2) + "."));
    }
  }
  $("evidence").replaceChildren(...parts);
}

function pictureOf(u) {
  if (document.readyState === "loading") return null;
  pictures = pictures || JSON.parse($("pictures").textContent);
  return pictures[u.picture];
}

function sentence(u, present) {
  const said = present.map(([name, about]) => name + " alone says " + about.emotion).join(", ");
  let text = said.charAt(0).toUpperCase() + said.slice(1) + ".";
  for (const name of u.decisive || []) {
    text += " Without " + name + " it would be " + u.modalities[name].without.emotion + ".";
  }
  return element("p", "", text);
}

function tableOf(u, present) {
  const table = element("table");
  const titles = element("tr");
  for (const title of ["emotion", "all", ...present.map(([name]) => name)]) {
    const cell = element("th", "", title);
    cell.scope = "col";
    titles.append(cell);
  }
  const head = element("thead");
  head.append(titles);
  const body = element("tbody");
  const columns = [u.probabilities, ...present.map(([, about]) => about.probabilities)];
  for (const label of labels) {
    const row = element("tr");
    const name = element("th", "", label);
    name.scope = "row";
    row.append(name);
    for (const column of columns) {
      if (!(label in column)) { row.append(element("td")); continue; }
      const cell = element("td", "p", column[label].toFixed(2));
      cell.style.setProperty("--p", 100 * column[label] + "%");
      if (column[label] === Math.max(...Object.values(column))) cell.classList.add("best");
      row.append(cell);
    }
    body.append(row);
  }
  table.append(head, body);
  return table;
}

/* ---- play ---- */

function seek(to) {
  time = Math.min(Math.max(0, to), duration);
  if (player.readyState) player.currentTime = time;
  else if (!player.error) player.addEventListener("loadedmetadata",
    () => { player.currentTime = time; }, { once: true });
  follow();
}

function follow() {
  const head = $("head");
  head.style.left = 100 * time / duration + "%";
  const box = $("scroll");
  if (pixels && (head.offsetLeft < box.scrollLeft ||
      head.offsetLeft > box.scrollLeft + box.clientWidth)) {
    box.scrollLeft = head.offsetLeft - box.clientWidth / 4;
  }
  show(indexAt(utterances, time));
}

function tick() {
  if (player.paused) return;
  time = player.currentTime;
  follow();
  requestAnimationFrame(tick);
}

player.addEventListener("play", tick);
player.addEventListener("timeupdate", () => { time = player.currentTime; follow(); });
player.addEventListener("error", () => {
  player.hidden = true;
  $("missing").hidden = false;
});
player.addEventListener("loadedmetadata", () => {
  player.hidden = false;
  $("missing").hidden = true;
  $("blind").hidden = player.videoWidth !== 0; // an audio player has none
});
$("pick").addEventListener("change", () => {
  if ($("pick").files[0]) player.src = URL.createObjectURL($("pick").files[0]);
});
$("timeline").addEventListener("click", (event) => {
  const box = $("timeline").getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * duration);
});
function zoom(by) {
  const least = $("scroll").clientWidth / duration;
  pixels = Math.min(200, (pixels || least) * by);
  if (pixels <= least) pixels = 0;
  scaleTimeline();
  follow();
}
$("closer").addEventListener("click", () => zoom(2));
$("wider").addEventListener("click", () => zoom(0.5));
addEventListener("resize", scaleTimeline);

/* ---- edit ---- */

function apply(list, message) {
  if (list === utterances) { tell(message || "Nothing to change here."); return; }
  past.push(utterances);
  utterances = list;
  store();
  drawAll();
}

function store() {
  try {
    if (utterances === original) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(utterances.map(withoutKnownWords), KEPT));
    tell(utterances === original ? "No edits." : "Edits are kept in this browser.");
  } catch { tell("This browser cannot keep edits: save the JSON file before you close the page."); }
}

/* Only words that edits have changed need to be kept. */
function withoutKnownWords(utterance) {
  const { words, ...rest } = utterance;
  return words === original[utterance.picture]?.words ? rest : utterance;
}

function tell(text) { $("state").textContent = text; }

function setEmotion(number) {
  if (utterances[current] && labels[number]) {
    apply(withEmotion(utterances, current, labels[number]), "It has this emotion.");
  }
}

function undo() {
  if (!past.length) return;
  utterances = past.pop();
  store();
  drawAll();
}

function field(form, name, input, value) {
  const label = element("label", "", name);
  label.htmlFor = input.id = "field-" + name;
  input.name = name;
  input.value = value;
  form.append(label, input);
  return input;
}

function edit() {
  const index = current;
  const u = utterances[index];
  if (!u) return;
  openForm(u, (fields) => {
    if (Object.keys(fields).every((name) => fields[name] === u[name])) { drawEvidence(); return; }
    time = fields.start;
    apply(withFields(utterances, index, fields));
  });
}

/* Add speech that was missed, at the player's position. */
function add() {
  const speaker = (utterances[current] || { speaker: "" }).speaker;
  openForm(fieldsAt(utterances, time, data.content.duration && duration, speaker), (fields) => {
    const old = new Set(utterances);
    apply(withNew(utterances, fields));
    go(utterances.findIndex((u) => !old.has(u)));
  });
}

/* Show a form with the fields of an utterance; give them to `accept` when they can be set. */
function openForm(u, accept) {
  if ($("form")) return;
  player.pause();
  const form = element("form");
  form.id = "form";
  const select = element("select");
  select.required = true;
  if (!u.emotion) select.append(new Option("(choose)", ""));
  for (const label of new Set([...labels, u.emotion].filter(Boolean))) {
    select.append(new Option(label, label));
  }
  field(form, "emotion", select, u.emotion);
  const speaker = field(form, "speaker", element("input"), u.speaker);
  const names = element("datalist");
  names.id = "names";
  for (const name of new Set(utterances.map((v) => v.speaker))) names.append(new Option(name));
  speaker.setAttribute("list", "names");
  field(form, "text", element("textarea"), u.text);
  for (const name of ["start", "end"]) {
    const input = element("input");
    input.type = "number";
    input.step = "any";
    input.min = "0";
    field(form, name, input, u[name]);
  }
  const buttons = element("div");
  const done = element("button", "", "Apply");
  const cancel = element("button", "", "Cancel");
  cancel.type = "button";
  const problem = element("p");
  problem.setAttribute("role", "alert");
  buttons.append(done, " ", cancel);
  form.append(names, buttons, problem);
  const focus = () => { if (rows[current]) rows[current].focus(); };
  const leave = () => { form.remove(); drawEvidence(); focus(); };
  cancel.addEventListener("click", leave);
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") leave(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const entries = Object.fromEntries(new FormData(form));
    const fields = { ...entries, start: parseFloat(entries.start), end: parseFloat(entries.end) };
    problem.textContent = problemOf(fields, data.content.duration && duration);
    if (problem.textContent) return;
    form.remove();
    accept(fields);
    focus();
  });
  $("evidence").replaceChildren(form);
  select.focus();
}

function resultOf() {
  const saved = utterances.map(({ picture, ...u }) =>
    "uncertain" in u ? { ...u, uncertain: isUncertain(u) } : u);
  const any = saved.some((u) => u.edited && Object.keys(u.edited).length) ||
    new Set(utterances.map((u) => u.picture)).size < original.length;
  return { ...data.content, ...(any ? { edited: true } : {}), utterances: saved };
}

function save() {
  const file = new Blob([JSON.stringify(resultOf(), null, 1) + "\n"], { type: "application/json" });
  const link = element("a");
  link.href = URL.createObjectURL(file);
  link.download = data.file;
  link.click();
  URL.revokeObjectURL(link.href);
}

$("edit").addEventListener("click", edit);
$("add").addEventListener("click", add);
$("split").addEventListener("click", () => split());
$("join").addEventListener("click", () => join());
$("delete").addEventListener("click", () => remove());
$("undo").addEventListener("click", undo);
$("save").addEventListener("click", save);
$("discard").addEventListener("click", () => apply(original));

function split() {
  apply(splitAt(utterances, current, time), "Move to a time inside the utterance first.");
}
function remove() {
  const next = utterances[current + 1] || utterances[current - 1];
  if (next) time = next.start;
  apply(without(utterances, current), "There is nothing to delete.");
  if (next) go(utterances.indexOf(next));
}
function join() { apply(joinNext(utterances, current), "There is no next utterance."); }

const KEYS = {
  " ": () => { if (player.paused) player.play().catch(() => {}); else player.pause(); },
  ArrowUp: () => { if (current > 0) go(current - 1); },
  ArrowDown: () => { if (current + 1 < utterances.length) go(current + 1); },
  ArrowLeft: () => seek(time - 1),
  ArrowRight: () => seek(time + 1),
  a: add, e: edit, s: split, j: join, u: undo, Delete: remove,
};

/* Overlapping utterances may start at the same time: the index decides, not the time. */
function go(index) {
  drawRows(index + 1);
  seek(utterances[index].start);
  show(index);
  rows[index].focus({ preventScroll: true });
}

addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, audio, video")) return;
  const button = event.target.closest("button, summary, a");
  if (button && !button.closest("#list") && [" ", "Enter"].includes(event.key)) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (action) { event.preventDefault(); action(); }
  else if (event.key >= "1" && event.key <= "9") setEmotion(Number(event.key) - 1);
});

drawLegend();
drawAll();
addEventListener("DOMContentLoaded", () => {
  if (utterances[current] && !$("form")) drawEvidence();
});
if (utterances !== original) tell("Edits of an earlier visit are shown.");
/* Links name an utterance (#12) or a time (#t=3.5). */
function openLink() {
  const [, number, seconds] = location.hash.match(/^#(?:(\d+)|t=(\d+(?:\.\d+)?))$/) || [];
  if (seconds) seek(Number(seconds));
  else if (utterances[number]) go(Number(number));
}
openLink();
addEventListener("hashchange", openLink);
if (player.error || player.networkState === 3) player.dispatchEvent(new Event("error"));
