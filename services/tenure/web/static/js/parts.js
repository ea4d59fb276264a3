// The small things that every view is made of.

import { OUT_OF_REACH, PERMISSION_DENIED, Refused } from "./api.js";
import { fill, freshId, h } from "./dom.js";
import { statusWord, stateWord } from "./words.js";

/** A state in words, with its colour. */
export function pill(status) {
  const [key, label] = statusWord(status);
  return h("span", { class: "pill", "data-state": key, title: status?.reason || null }, label);
}

/** The same for the state of an update. */
export function statePill(state) {
  const [key, label] = stateWord(state);
  return h("span", { class: "pill", "data-state": key }, label);
}

/** An id, shortened in the middle of where it says nothing, whole in its title. */
export function shortId(id) {
  return h("span", { class: "mono id", title: id }, id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id);
}

export function jobLink(id, ...children) {
  return h("a", { href: `#/jobs/${encodeURIComponent(id)}`, title: id }, children.length ? children : shortId(id));
}

/** A button that puts a text into the clipboard and says so. */
export function copyButton(text, what) {
  const button = h("button", { type: "button", class: "quiet", "aria-label": `Copy ${what}`, onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      say(`Copied ${what}`);
    } catch {
      say(`This browser does not let the page copy ${what}`);
    }
  }
  return button;
}

/** Tells everybody, those who do not see the page included, for a few seconds. */
export function say(text) {
  const place = document.getElementById("said");
  const line = h("p", null, text);
  fill(place, line);
  setTimeout(() => line.remove(), 5000);
}

/** What went wrong, where the content would be. */
export function failure(error, retry) {
  const denied = error instanceof Refused && error.code === PERMISSION_DENIED;
  const away = error instanceof Refused && error.code === OUT_OF_REACH;
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", { class: "strong" }, denied ? "Your token may not see this." : away ? "No connection" : "That did not work."),
    h("p", null, said(error)),
    retry && !denied ? h("button", { type: "button", onclick: retry }, "Try again") : null,
  );
}

/** The reasons of a refusal as a list below a form; empty: none. */
export function problems(error) {
  if (!error) return null;
  const fields = error.violations ?? [];
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", null, said(error)),
    fields.length > 1
      ? h("ul", null, fields.map(({ field, description }) => h("li", null, h("code", null, field), " ", description)))
      : null,
  );
}

/** An error in words. Defects of the page say so, and nothing more. */
export function said(error) {
  if (error instanceof Refused) return error.message;
  console.error(error);
  return "The page has a defect; its console says more.";
}

export function empty(title, ...more) {
  return h("div", { class: "notice empty" }, h("p", { class: "strong" }, title), more);
}

export function loading() {
  return h("p", { class: "loading", role: "status" }, "Loading …");
}

/** A labelled control; `hint` is read with it. */
export function field(label, control, hint) {
  control.id ||= freshId("field");
  const note = hint ? h("span", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
}

/** A choice of options: value → label. */
export function choice(options, value, properties) {
  return h(
    "select",
    properties,
    Object.entries(options).map(([each, label]) => h("option", { value: each, selected: each === value }, label)),
  );
}

/** A table in a frame that scrolls sideways by itself, by keyboard too. */
export function table(name, columns, body, properties) {
  const heads = columns.map((column) =>
    column instanceof Node ? column : h("th", { scope: "col", class: column.class ?? null }, column.label ?? column),
  );
  return h(
    "div",
    { class: "frame", role: "region", tabindex: "0", "aria-label": name },
    h("table", properties, h("thead", null, h("tr", null, heads)), body),
  );
}

/** Whether a stream is live, in words and colour. */
export function liveMark() {
  const words = {
    connecting: "Connecting …",
    live: "Live",
    waiting: "Reconnecting …",
    paused: "Paused",
    failed: "Not live",
  };
  const element = h("span", { class: "live", "data-live": "connecting" }, words.connecting);
  const set = (state, error) => {
    if (element.dataset.live !== state) element.textContent = words[state];
    element.dataset.live = state;
    element.title = error ? said(error) : "";
  };
  return { element, set };
}
