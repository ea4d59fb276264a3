// Times, spans and sizes as people read and write them. Times are milliseconds since the epoch, spans milliseconds.

import { h } from "./dom.js";
import { now } from "./clock.js";

const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
const BELOW = { d: "h", h: "m", m: "s" };

/** Milliseconds of a proto3 timestamp; null: unset. */
export function instantOf(text) {
  const parsed = text ? Date.parse(text) : NaN;
  return Number.isNaN(parsed) ? null : parsed;
}

/** Milliseconds of a proto3 duration such as "3600.5s"; null: unset. */
export function spanOf(text) {
  const parsed = text ? Number.parseFloat(text) : NaN;
  return Number.isNaN(parsed) ? null : parsed * 1000;
}

/** A span as proto3 JSON. */
export function durationText(ms) {
  return `${Number((ms / 1000).toFixed(6))}s`;
}

/** A span for people, its two largest units: `5h`, `1m 30s`, `12s`, `0.4s`. */
export function span(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 0) return `-${span(-ms)}`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1).replace(/\.0$/, "")}s`;
  const rounded = Math.round(ms / 1000) * 1000;
  for (const unit of ["d", "h", "m"]) {
    if (rounded < UNITS[unit]) continue;
    const lower = Math.floor((rounded % UNITS[unit]) / UNITS[BELOW[unit]]);
    return `${Math.floor(rounded / UNITS[unit])}${unit}${lower ? ` ${lower}${BELOW[unit]}` : ""}`;
  }
  return `${rounded / 1000}s`;
}

/** Milliseconds of a span as people write it: `90s`, `1h30m`, `2d`; null: it is none. */
export function parseSpan(text) {
  const compact = text.trim().toLowerCase().replaceAll(" ", "");
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[dhms]))+$/.test(compact)) return null;
  const parts = [...compact.matchAll(/(\d+(?:\.\d+)?)(ms|[dhms])/g)].map(([, number, unit]) => [number, unit]);
  const order = Object.keys(UNITS).filter((unit) => parts.some(([, mine]) => mine === unit));
  if (order.join() !== parts.map(([, unit]) => unit).join()) return null;
  return parts.reduce((sum, [number, unit]) => sum + Number(number) * UNITS[unit], 0);
}

/** `in 4h 59m`, `12s ago`; spans below a second are `now`. */
export function relative(at, from = now()) {
  const difference = at - from;
  const whole = Math.round(Math.abs(difference) / 1000) * 1000;
  if (whole < 1000) return "now";
  return difference > 0 ? `in ${span(whole)}` : `${span(whole)} ago`;
}

/** The exact local time, with milliseconds. */
export function exact(at) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const minutes = -date.getTimezoneOffset();
  const zone = `${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  return `${day} ${clockTime(at)}.${String(date.getMilliseconds()).padStart(3, "0")} ${zone}`;
}

/** `14:05:09`, local. */
export function clockTime(at) {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** A <time> that shows how long ago or ahead, the exact time in its title; `tick` keeps it true. */
export function ago(at) {
  if (at === null) return null;
  return h("time", { datetime: new Date(at).toISOString(), title: exact(at), "data-at": at }, relative(at));
}

/** A <time> that shows the time of day, everything else in its title. */
export function atClock(at) {
  if (at === null) return null;
  return h("time", { datetime: new Date(at).toISOString(), title: exact(at) }, clockTime(at));
}

/** Brings every relative time on the page up to date. */
export function tick() {
  const at = now();
  for (const element of document.querySelectorAll("time[data-at]")) {
    const text = relative(Number(element.dataset.at), at);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** `1.2 MiB`. */
export function bytes(count) {
  let number = Number(count ?? 0);
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (number < 1024 || unit === "TiB") return `${unit === "B" ? number : number.toFixed(1)} ${unit}`;
    number /= 1024;
  }
  return "";
}
