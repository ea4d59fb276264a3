// The log itself, its newest events first, growing as one looks. For administrators.

import { readEvents } from "./api.js";
import { fill, h } from "./dom.js";
import { describe, typeOf } from "./event_words.js";
import { atClock, instantOf } from "./format.js";
import { head } from "./head.js";
import { follow, isSignedOut } from "./live.js";
import { choice, copyButton, empty, failure, field, liveMark, loading } from "./parts.js";
import { address, go } from "./router.js";

const BEFORE = 200;
const KEPT = 500;
const LOOKED_THROUGH = 20_000;
const WAIT_MS = 400;
const TYPES = ["JobCreated", "JobAssigned", "AssignmentDeclined", "JobStarted", "JobHeartbeat", "JobExtended", "AttemptFailed", "AttemptReleased",
  "LeaseExpired", "JobRequeued", "CancelRequested", "JobTerminated", "QueueConfigured", "QueuePaused", "QueueResumed"];

export function eventsView({ query, signal, signedOut }) {
  const live = liveMark();
  const types = { "": "All", ...Object.fromEntries(TYPES.map((type) => [type, type])) };
  const plain = { type: "text", autocomplete: "off", spellcheck: "false", oninput: later };
  const controls = { type: choice(types, "", { onchange: tell }), job: h("input", { ...plain, class: "mono", placeholder: "job id", size: 36 }), queue: h("input", plain) };
  const hold = h("button", { type: "button", "aria-pressed": "false", onclick: toggle }, "Hold");
  const place = h("div", null, loading());
  const list = h("ol", { class: "events", reversed: true });
  const note = h("p", { class: "count" });
  const element = h(
    "section",
    null,
    h("div", { class: "head" }, h("h1", null, "Events"), live.element, hold),
    h("form", { class: "filters few", role: "search", "aria-label": "Events", onsubmit: (event) => { event.preventDefault(); tell(); } },
      field("Type", controls.type), field("Job", controls.job), field("Queue", controls.queue)),
    place,
    note,
  );
  let current = query;
  let running = null;
  let held = null; // events that came while the list is held
  let timer = 0;

  function later() {
    clearTimeout(timer);
    timer = setTimeout(tell, WAIT_MS);
  }

  function tell() {
    clearTimeout(timer);
    go(address(["events"], Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value.trim()]))), { replace: true });
  }

  function changed(other) {
    current = other;
    for (const [name, control] of Object.entries(controls)) if (control !== document.activeElement) control.value = other.get(name) ?? "";
    load();
  }

  async function load() {
    running?.abort();
    running = new AbortController();
    const own = AbortSignal.any([signal, running.signal]);
    fill(list);
    held = held && [];
    try {
      const end = await head(own);
      if (own.aborted) return;
      const filter = { types: some("type"), jobIds: some("job"), queues: some("queue") };
      // What is looked for may lie far back; the events of one job are never many.
      const back = filter.jobIds ? end.position : filter.types || filter.queues ? LOOKED_THROUGH : BEFORE;
      const from = Math.max(0, end.position - back);
      note.textContent = from ? `The last ${back.toLocaleString()} events were looked through.` : "";
      listen(filter, from, own);
    } catch (error) {
      if (own.aborted) return;
      if (isSignedOut(error)) return signedOut();
      fill(place, failure(error, load));
      live.set("failed", error);
    }
  }

  function some(name) {
    const value = current.get(name);
    return value ? [value] : undefined;
  }

  function listen(filter, from, own) {
    fill(place, list);
    follow({
      open: (token, each) => readEvents({ filter, follow: true, ...(token ? { resumeToken: token } : { afterPosition: from || undefined }) }, each),
      message: take,
      state: (state, error) => {
        live.set(state, error);
        if (state !== "failed") return;
        if (isSignedOut(error)) signedOut();
        else fill(place, failure(error, load));
      },
      restart: async () => {
        fill(list);
        return "";
      },
      signal: own,
    });
  }

  function take({ events }) {
    if (held) {
      held = [...held, ...(events ?? [])].slice(-KEPT);
      hold.textContent = held.length ? `Go on (${held.length} new)` : "Go on";
    } else put(events ?? []);
    if (!list.children.length && !held?.length) fill(place, empty("No such events yet."));
  }

  function put(events) {
    if (!events.length) return;
    if (!place.contains(list)) fill(place, list);
    list.prepend(...events.slice(-KEPT).toReversed().map(row));
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }

  function toggle() {
    const came = held ?? [];
    held = held ? null : [];
    hold.setAttribute("aria-pressed", String(held !== null));
    hold.textContent = held ? "Go on" : "Hold";
    put(came);
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  changed(query);
  return { title: "Events", element, changed };
}

function row(event) {
  const [kind, id] = [event.stream.slice(0, event.stream.indexOf("/")), event.stream.slice(event.stream.indexOf("/") + 1)];
  const link = kind === "job" ? `#/jobs/${encodeURIComponent(id)}` : address(["jobs"], { queue: id });
  const raw = h("pre", { tabindex: "0", "aria-label": "Event as JSON" });
  const details = h(
    "details",
    { ontoggle: () => details.open && !raw.textContent && (raw.textContent = JSON.stringify(event, null, 2)) },
    h("summary", null,
      h("span", { class: "mono position" }, event.position), atClock(instantOf(event.time)), h("span", { class: "type" }, typeOf(event)),
      h("span", { class: "what" }, describe(event))),
    h("p", { class: "row" }, h("a", { class: "mono", href: link }, event.stream), h("span", { class: "hint" }, `by ${event.actor}`), copyButton(() => JSON.stringify(event, null, 2), "the event")),
    raw,
  );
  return h("li", null, details);
}
