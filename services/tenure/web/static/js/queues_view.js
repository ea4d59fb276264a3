// The queues: what waits, how long, who serves them. Administrators pause and resume them.

import { browseQueues, pauseQueues, requestId } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { span, spanOf } from "./format.js";
import { empty, field, say, table } from "./parts.js";
import { everything, polledView } from "./polled.js";
import { address } from "./router.js";
import { productOf, word } from "./words.js";

const NUMBER = (label) => ({ label, class: "number" });
const COLUMNS = ["Queue", "State", NUMBER("Waiting"), NUMBER("Oldest"), NUMBER("Active"), NUMBER("Workers"), NUMBER("Free slots"), "Time", { label: "Supports", class: "wide" }, { label: "Products", class: "wide" }];

export function queuesView(context) {
  const admin = context.session.role === "admin";
  return polledView(context, "Queues", () => everything(browseQueues, "queues"), (queues, again) => draw(queues, admin, again));
}

function draw(queues, admin, again) {
  if (!queues.length) return empty("No queues.");
  return table("Queues", admin ? [...COLUMNS, h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Actions"))] : COLUMNS, h("tbody", null, queues.map((queue) => row(queue, admin, again))));
}

function row(queue, admin, again) {
  const asked = queue.specification;
  const number = (value) => h("td", { class: "number" }, String(value ?? 0));
  const link = h("a", { class: "strong", href: address(["jobs"], { queue: asked.name }) }, asked.name);
  return h(
    "tr",
    null,
    h("td", null, link, queue.readOnly ? h("span", { class: "sub" }, "from the configuration file") : null),
    h("td", { class: "tight" }, h("span", { class: "pill", "data-state": queue.paused ? "queued" : "success" }, queue.paused ? "Paused" : "Open")),
    number(queue.depth),
    h("td", { class: "number" }, span(spanOf(queue.oldestAge)) || "–"),
    number(queue.active),
    number(queue.workers),
    number(queue.freeSlots),
    h("td", null, times(asked)),
    h("td", { class: "wide" }, Object.entries(asked.features ?? {}).filter(([, on]) => on).map(([name]) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)).join(", ")),
    h("td", { class: "wide" }, (asked.products ?? []).slice(0, 3).map(({ product }) => h("div", { class: "mono" }, productOf(product)))),
    admin ? h("td", { class: "tight" }, h("button", { type: "button", class: "quiet", "data-key": `pause-${asked.name}`, onclick: () => askPause(queue, again) }, queue.paused ? "Resume …" : "Pause …")) : null,
  );
}

function times({ defaultTimeAllocation, maxTimeAllocation, basis }) {
  const parts = [
    spanOf(defaultTimeAllocation) === null ? "" : `default ${span(spanOf(defaultTimeAllocation))}`,
    spanOf(maxTimeAllocation) === null ? "" : `at most ${span(spanOf(maxTimeAllocation))}`,
    word(basis, "TIME_ALLOCATION_BASIS_") ? `from when ${word(basis, "TIME_ALLOCATION_BASIS_")}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}

async function askPause(queue, again) {
  const { name } = queue.specification;
  const reason = h("input", { type: "text", maxlength: 1000, autocomplete: "off" });
  const paused = !queue.paused;
  const id = requestId();
  const done = await ask({
    title: paused ? `Pause ${name}?` : `Resume ${name}?`,
    body: [
      h("p", null, paused ? "Jobs that run go on; no other is given out." : "Its jobs are given out again."),
      paused ? field("Reason (for people, may be empty)", reason) : null,
    ],
    action: paused ? "Pause" : "Resume",
    confirm: () => pauseQueues({ items: [{ name, paused, reason: reason.value.trim() }], requestId: id }),
  });
  if (!done) return;
  say(paused ? `${name} is paused` : `${name} gives out jobs again`);
  again();
}
