// The workers, as the server sees them. For administrators.

import { browseWorkers } from "./api.js";
import { h } from "./dom.js";
import { ago, instantOf } from "./format.js";
import { empty, jobLink, table } from "./parts.js";
import { everything, polledView } from "./polled.js";
import { labelsOf } from "./words.js";

const COLUMNS = ["Worker", "State", "Slots", "Queues", "Jobs", { label: "Labels", class: "wide" }, { label: "Machine", class: "wide" }, { label: "Version", class: "wide" }];
const SHOWN_JOBS = 5;

export function workersView(context) {
  return polledView(context, "Workers", () => everything(browseWorkers, "workers"), draw);
}

function draw(workers) {
  if (!workers.length) return empty("No worker has connected.", h("p", null, "Start one with ", h("code", null, "tenure worker --server HOST:PORT --queue NAME")));
  const sorted = workers.toSorted((one, other) => Number(other.connected) - Number(one.connected) || one.id.localeCompare(other.id));
  const slots = sorted.filter((each) => each.connected).reduce((sum, each) => ({ busy: sum.busy + (each.busySlots ?? 0), all: sum.all + (each.slots ?? 0) }), { busy: 0, all: 0 });
  const connected = sorted.filter((each) => each.connected).length;
  return [
    h("p", { class: "count" }, `${connected} of ${sorted.length} connected, ${slots.busy} of ${slots.all} slots busy`),
    table("Workers", COLUMNS, h("tbody", null, sorted.map(row))),
  ];
}

function row(worker) {
  const jobs = worker.jobIds ?? [];
  return h(
    "tr",
    null,
    h("td", null, h("span", { class: "strong" }, worker.id), worker.subject && worker.subject !== worker.id ? h("span", { class: "sub" }, worker.subject) : null),
    h("td", { class: "tight" }, states(worker), h("span", { class: "sub" }, ago(instantOf(worker.since)))),
    h("td", { class: "tight" }, h("span", { class: "progress" }, h("meter", { value: worker.busySlots ?? 0, max: Math.max(1, worker.slots ?? 0), "aria-label": "Slots in use" }), `${worker.busySlots ?? 0} of ${worker.slots ?? 0}`)),
    h("td", null, (worker.queues ?? []).join(", ")),
    h("td", { class: "tight" }, jobs.slice(0, SHOWN_JOBS).map((id) => h("div", null, jobLink(id))), jobs.length > SHOWN_JOBS ? h("span", { class: "sub" }, `and ${jobs.length - SHOWN_JOBS} more`) : null),
    h("td", { class: "wide" }, labelsOf(worker.labels).map((label) => h("span", { class: "label" }, label))),
    h("td", { class: "wide" }, worker.hostname),
    h("td", { class: "wide" }, worker.agentVersion),
  );
}

function states(worker) {
  const suspect = instantOf(worker.suspectUntil);
  return [
    h("span", { class: "pill", "data-state": worker.connected ? "success" : "cancelled" }, worker.connected ? "Connected" : "Away"),
    worker.draining ? h("span", { class: "pill", "data-state": "queued" }, "Draining") : null,
    suspect ? h("span", { class: "pill", "data-state": "failure" }, "Suspect ", ago(suspect)) : null,
  ];
}
