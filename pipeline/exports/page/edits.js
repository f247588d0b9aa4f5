"use strict";

/* Edits of a list of utterances. Every function returns a new list, so that undo keeps the old. */

function changed(utterance, fields) {
  const edited = { ...utterance.edited };
  for (const name of Object.keys(fields)) {
    if (fields[name] !== utterance[name]) edited[name] = true;
  }
  return withOwnWords({ ...utterance, ...fields, edited });
}

/* Recognised words and their times belong to an utterance as long as they are its text. */
function withOwnWords(utterance) {
  const { words, ...rest } = utterance;
  if (!words) return utterance;
  const inside = words.filter((word) => {
    const middle = (word.start + word.end) / 2;
    return middle >= rest.start && middle <= rest.end;
  });
  const plain = (text) => text.replace(/\s+/g, "");
  const same = plain(inside.map((word) => word.text).join("")) === plain(rest.text);
  if (!inside.length || !same) return rest;
  return inside.length === words.length ? utterance : { ...rest, words: inside };
}

function inOrder(utterances) {
  return utterances.slice().sort((a, b) => a.start - b.start || a.end - b.end);
}

function withFields(utterances, index, fields) {
  const copy = utterances.slice();
  copy[index] = changed(copy[index], fields);
  return inOrder(copy);
}

/* Set the emotion. The same one confirms an uncertain label. */
function withEmotion(utterances, index, emotion) {
  const old = utterances[index];
  if (old.emotion === emotion && !isUncertain(old)) return utterances;
  const made = changed(old, { emotion });
  made.edited.emotion = true;
  return [...utterances.slice(0, index), made, ...utterances.slice(index + 1)];
}

/* Whether the model was not sure, and nobody has said what is right. */
function isUncertain(utterance) {
  return Boolean(utterance.uncertain) && !(utterance.edited || {}).emotion;
}

/* Why fields cannot be set, or "" if they can. duration: 0 if it is not known. */
function problemOf(fields, duration) {
  if (!Number.isFinite(fields.start) || !Number.isFinite(fields.end)) return "Times are numbers.";
  if (fields.start < 0) return "The start is before the recording.";
  if (fields.end <= fields.start) return "The end must be after the start.";
  if (duration && fields.start >= duration) return "The start is after the end of the recording.";
  if (duration && fields.end > duration + 1) { // durations of files and players differ a little
    return `The end is after the end of the recording, which has ${duration.toFixed(1)} s.`;
  }
  return "";
}

/* The words are shared out by their times, or evenly; both parts keep the emotion. */
function splitAt(utterances, index, time) {
  const whole = utterances[index];
  if (!whole || !(time > whole.start && time < whole.end)) return utterances;
  const words = whole.text.split(/\s+/).filter(Boolean);
  const timed = (whole.words || []).length === words.length;
  const count = timed
    ? whole.words.filter((word) => (word.start + word.end) / 2 <= time).length
    : Math.round(words.length * (time - whole.start) / (whole.end - whole.start));
  const at = Math.round(1000 * time) / 1000;
  const first = changed(whole, { end: at, text: words.slice(0, count).join(" ") });
  const second = changed(whole, { start: at, text: words.slice(count).join(" ") });
  return [...utterances.slice(0, index), first, second, ...utterances.slice(index + 1)];
}

function joinNext(utterances, index) {
  if (index + 1 >= utterances.length) return utterances;
  const [one, other] = [utterances[index], utterances[index + 1]];
  const whole = changed(one, {
    end: Math.max(one.end, other.end),
    text: [one.text, other.text].filter(Boolean).join(" "),
    ...(one.words && other.words ? { words: [...one.words, ...other.words] } : {}),
  });
  delete whole.edited.words;
  whole.edited.end = whole.edited.text = true;
  return [...utterances.slice(0, index), whole, ...utterances.slice(index + 2)];
}

/* What the model says of an utterance that a person has added. */
const NO_EVIDENCE = { confidence: null, probabilities: {}, modalities: {} };
const SHORTEST = 0.3, USUAL = 2; // s, of an utterance that is added

/* Fields for speech that was missed: from a time to the next utterance, or for two seconds.
   duration: 0 if it is not known. */
function fieldsAt(utterances, time, duration, speaker) {
  const at = Math.max(0, duration ? Math.min(time, duration - SHORTEST) : time);
  const next = utterances.find((u) => u.start >= at + SHORTEST);
  const end = Math.min(at + USUAL, next ? next.start : Infinity, duration || Infinity);
  const [start, stop] = [at, end].map((t) => Math.round(1000 * t) / 1000);
  return { emotion: "", speaker, text: "", start, end: stop };
}

function withNew(utterances, fields) {
  const edited = Object.fromEntries(Object.keys(fields).map((name) => [name, true]));
  return inOrder([...utterances, { ...fields, ...NO_EVIDENCE, edited }]);
}

function without(utterances, index) {
  if (!utterances[index]) return utterances;
  return [...utterances.slice(0, index), ...utterances.slice(index + 1)];
}

/* The utterance at a time: the last one that has started, if possible one that has not ended. */
function indexAt(utterances, time) {
  let low = 0, high = utterances.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (utterances[middle].start <= time + 1e-3) low = middle + 1; else high = middle;
  }
  for (let k = low - 1; k >= Math.max(0, low - 8); k--) {
    if (utterances[k].end > time) return k;
  }
  return Math.max(0, low - 1);
}

function isList(value) {
  return Array.isArray(value) && value.every((u) => u && Number.isFinite(u.start) &&
    Number.isFinite(u.end) && typeof u.text === "string" && typeof u.speaker === "string" &&
    typeof u.emotion === "string" && typeof u.modalities === "object");
}
