// The timeline of a job, drawn to scale: its states, its time with extensions, and a lane for each attempt.
//
// The picture is as wide in units as on the screen, so that its texts keep their size; it is drawn again when that
// changes, when the job changes, and every second while the job lives. All of it is in the tables below it too.

import { now } from "./clock.js";
import { fill, h, s, setText } from "./dom.js";
import { clockTime, exact, relative, span } from "./format.js";
import { ticks, timelineModel } from "./timeline_model.js";
import { isFinal } from "./words.js";

const LANE = 40;
const TOP = 42;
const EDGE = 8;
const SMALLEST = 2.5;
const SCALES = { past: "So far", whole: "To the deadline" };

export function timelinePart(signal) {
  const place = h("div", { class: "timeline", role: "img" });
  const buttons = Object.entries(SCALES).map(([key, label]) => h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(key) }, label));
  const scale = h("div", { class: "segments", role: "group", "aria-label": "Scale of the timeline" }, buttons);
  const left_out = h("p", { class: "hint", hidden: true });
  const element = h("section", { class: "part" }, h("div", { class: "head" }, h("h2", null, "Timeline"), scale), place, left_out, legend());
  let shown = null;
  let chosen = null;
  let width = 0;

  function choose(key) {
    chosen = key;
    draw();
  }

  function show(job, history) {
    shown = { job, history };
    draw();
  }

  function draw() {
    if (!shown || !width) return;
    const model = timelineModel(shown.job, shown.history, now());
    const whole = model.allocation?.to > model.end && !model.final;
    const key = whole ? (chosen ?? usual(model)) : "past";
    scale.hidden = !whole;
    left_out.hidden = !model.more;
    setText(left_out, `${model.more} earlier attempts are only in the table.`);
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(Object.keys(SCALES)[index] === key)));
    place.setAttribute("aria-label", inWords(model));
    fill(place, picture(model, width, key === "whole" ? model.allocation.to : model.end));
  }

  const size = new ResizeObserver(([entry]) => {
    const wide = Math.floor(entry.contentRect.width);
    if (wide === width) return;
    width = wide;
    draw();
  });
  const clock = setInterval(() => {
    // Not while somebody points at it: what is drawn again loses the text that explains it.
    if (shown && !document.hidden && !isFinal(shown.job.status) && !place.matches(":hover")) draw();
  }, 1000);
  size.observe(place);
  signal.addEventListener("abort", () => {
    size.disconnect();
    clearInterval(clock);
  });

  return { element, show };
}

/** To the deadline once a tenth of the way is gone; before that the past would be too small to see. */
function usual({ begin, end, allocation }) {
  return (end - begin) / (allocation.to - begin) > 0.1 ? "whole" : "past";
}

function picture(model, width, until) {
  const room = Math.max(1000, (until - model.begin) * 1.02);
  const x = (at) => EDGE + (Math.min(Math.max(at, model.begin), model.begin + room) - model.begin) * ((width - 2 * EDGE) / room);
  const lanes = [statesLane(model, x), model.allocation ? allocationLane(model, x, width) : null, ...model.attempts.map((each) => attemptLane(each, x, width))].filter(Boolean);
  const bottom = TOP + lanes.length * LANE;
  const scale = { x, width, bottom, room };
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${bottom + 6}`, width, height: bottom + 6, "aria-hidden": "true", focusable: "false" },
    axis(model, scale),
    lanes.map((lane, index) => s("g", { transform: `translate(0 ${TOP + index * LANE})` }, lane)),
    marks(model, scale),
  );
}

function axis(model, { width, bottom, room }) {
  const pixels = (width - 2 * EDGE) / room;
  return ticks(room, Math.max(2, Math.floor(width / 80))).map((at) => {
    const place = EDGE + at * pixels;
    return [
      s("line", { class: "grid", x1: place, x2: place, y1: TOP - 22, y2: bottom }),
      place < width - 40 ? s("text", { class: "tick", x: place + 3, y: TOP - 26 }, at === 0 ? clockTime(model.begin) : `+${span(at)}`) : null,
    ];
  });
}

function statesLane({ states }, x) {
  return [
    s("text", { class: "lane", x: EDGE, y: 11 }, "State"),
    states.map(({ key, label, from, to }) => {
      const wide = Math.max(SMALLEST, x(to) - x(from));
      return s("g", { class: "stretch", "data-state": key },
        s("rect", { x: x(from), y: 16, width: wide, height: 14, rx: 2 }, s("title", null, `${label}: ${exact(from)}, ${span(to - from)}`)),
        wide > label.length * 7 + 10 ? s("text", { x: x(from) + 5, y: 27 }, label) : null);
    }),
  ];
}

function allocationLane({ allocation, begin }, x, width) {
  const { from, base, to, extensions, untold } = allocation;
  const total = extensions.reduce((sum, { by }) => sum + by, 0) + untold;
  const parts = [s("rect", { class: "base", x: x(from), y: 18, width: Math.max(SMALLEST, x(base) - x(from)), height: 10 }, s("title", null, `Time asked for: ${span(base - from)}, until ${exact(base)}`))];
  let end = base;
  for (const { at, by } of [...extensions, ...(untold ? [{ at: null, by: untold }] : [])]) {
    const title = `Extended by ${span(by)}${at === null ? "" : ` at ${exact(at)}`}, until ${exact(end + by)}`;
    if (x(end + by) > x(end)) parts.push(s("rect", { class: "extension", x: x(end), y: 18, width: Math.max(SMALLEST, x(end + by) - x(end)), height: 10 }, s("title", null, title)));
    if (at !== null && at >= begin) parts.push(s("path", { class: "extended", d: diamond(x(at), 23) }, s("title", null, title)));
    end += by;
  }
  const text = `Time: ${span(base - from)}${total ? ` + ${span(total)} extended` : ""}`;
  return [s("text", { class: "lane", x: EDGE, y: 11 }, text), parts, x(to) > width - EDGE - 1 ? s("path", { class: "beyond", d: `M${width - EDGE - 5} 17l6 6l-6 6` }) : null];
}

function attemptLane(attempt, x, width) {
  const { assigned, started, to, live, beats, count, last, badge, reason } = attempt;
  const ran = started ?? to;
  const said = [`#${attempt.number} ${attempt.worker}`, live ? "" : reason, `${count} ${count === 1 ? "beat" : "beats"}`, live && last ? `last ${relative(last)}` : ""];
  const text = said.filter(Boolean).join(" · ");
  const fits = Math.floor((width - 2 * EDGE) / 6.4);
  return [
    s("text", { class: "lane", x: EDGE, y: 11 }, text.length > fits ? `${text.slice(0, fits - 1)}…` : text, s("title", null, text)),
    s("rect", { class: "track", x: x(assigned), y: 16, width: Math.max(SMALLEST, x(to) - x(assigned)), height: 14, rx: 2 }),
    ran > assigned ? s("rect", { class: "before", x: x(assigned), y: 16, width: Math.max(SMALLEST, x(ran) - x(assigned)), height: 14, rx: 2 }, s("title", null, `Assigned ${exact(assigned)}, ${span(ran - assigned)} until ${started ? "its command started" : "it ended"}`)) : null,
    started ? s("rect", { class: "ran", "data-end": live ? "live" : reason, x: x(started), y: 16, width: Math.max(SMALLEST, x(to) - x(started)), height: 14, rx: 2 }, s("title", null, `Ran from ${exact(started)}${live ? "" : ` to ${exact(to)}`}, ${span(to - started)}`)) : null,
    thinned(beats, x).map((at) => s("line", { class: "beat", x1: x(at), x2: x(at), y1: 19, y2: 27 }, s("title", null, `Heartbeat ${exact(at)}`))),
    badge ? s("text", { class: "badge", "data-end": reason, x: Math.min(x(to) + 4, width - 12), y: 28 }, badge) : null,
  ];
}

/** Beats that would lie on each other are drawn once. */
function thinned(beats, x) {
  let last = -Infinity;
  return beats.toSorted((one, other) => one - other).filter((at) => {
    if (x(at) - last < 3) return false;
    last = x(at);
    return true;
  });
}

/** Now and the deadline, over everything. */
function marks({ final, end, begin, allocation }, { x, width, bottom, room }) {
  const lines = [];
  if (!final) lines.push(line("now", x(end), bottom, `Now: ${exact(end)}`));
  const deadline = final ? null : allocation?.to;
  if (deadline && deadline <= begin + room) {
    lines.push(line("deadline", x(deadline), bottom, `Deadline: ${exact(deadline)}`));
    const left = x(deadline) > width / 2;
    lines.push(s("text", { class: "deadline", x: x(deadline) + (left ? -4 : 4), y: TOP - 9, "text-anchor": left ? "end" : "start" }, `ends ${relative(deadline)}`));
  } else if (deadline) lines.push(s("text", { class: "deadline", x: width - EDGE - 10, y: TOP + LANE + 11, "text-anchor": "end" }, `ends ${relative(deadline)} →`));
  return lines;
}

function line(name, place, bottom, title) {
  return s("line", { class: name, x1: place, x2: place, y1: TOP - 22, y2: bottom }, s("title", null, title));
}

function diamond(x, y) {
  return `M${x} ${y - 6}l6 6l-6 6l-6 -6z`;
}

function legend() {
  const signs = { before: "assigned, copying in", ran: "command runs", beat: "heartbeat on record", extended: "extension", now: "now", deadline: "deadline" };
  return h("ul", { class: "legend", "aria-hidden": "true" }, Object.entries(signs).map(([sign, words]) => h("li", { "data-sign": sign }, words)));
}

function inWords(model) {
  const states = model.states.map(({ label, from, to }) => `${label} for ${span(to - from)}`).join(", then ");
  const tries = model.attempts.map(({ number, worker, live, reason, count }) => `attempt ${number} on ${worker}, ${live ? "live" : reason || "ended"}, ${count} heartbeats`);
  const { allocation, final } = model;
  const ends = allocation && !final ? [`Its time ends ${relative(allocation.to)}${allocation.extensions.length ? `, extended ${allocation.extensions.length} times` : ""}`] : [];
  return [`Timeline: ${states || "nothing yet"}`, ...tries, ...ends].join(". ");
}
