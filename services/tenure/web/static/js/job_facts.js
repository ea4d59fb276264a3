// What there is to know about a job at a glance. Facts that are not there are not shown; one that is there stays the
// same element, so that nothing jumps and a selection stays.

import { fill, h } from "./dom.js";
import { ago, atClock, exact, instantOf, span, spanOf } from "./format.js";
import { progress } from "./job_rows.js";
import { commandLine, isFinal, labelsOf, productOf, queueOf } from "./words.js";

const DEFAULT_MAX_FAILURES = 3;

/** Shows the facts of a job in a <dl>. */
export function facts(list, job) {
  for (const [label, values, content] of told(job)) {
    let fact = list.querySelector(`[data-fact="${label}"]`);
    if (!fact) {
      fact = h("div", { "data-fact": label }, h("dt", null, label), h("dd"));
      list.append(fact);
    }
    fact.hidden = !content;
    if (!content) continue;
    const drawn = JSON.stringify(values);
    if (fact.dataset.drawn === drawn) continue;
    fact.dataset.drawn = drawn;
    fill(fact.querySelector("dd"), content());
  }
}

// [label, what it depends on, how it is shown or null]
function told(job) {
  const { status, specification: asked } = job;
  const final = isFinal(status);
  const expires = final ? null : instantOf(status.expiresAt);
  const started = instantOf(status.startedAt);
  const not_before = instantOf(status.notBefore);
  const beat = instantOf(status.lastHeartbeatAt);
  const beats = Number(status.numHeartbeats ?? 0);
  const text = (label, value) => [label, [value], value ? () => value : null];
  const when = (label, at) => [label, [at], at === null ? null : () => [ago(at), h("span", { class: "sub" }, atClock(at))]];
  const command = commandLine(asked) || commandLine(status.resolvedApplication);
  const labels = labelsOf(asked?.labels);
  return [
    text("Reason", status.reason),
    ["Time left", [expires], expires === null ? null : () => [ago(expires), h("span", { class: "sub", title: exact(expires) }, "ends ", atClock(expires))]],
    text("Allocation", allocation(asked, status)),
    when("Created", instantOf(job.createdAt)),
    when("Started", started),
    ["Heartbeats", [beats, beat], beats ? () => [String(beats), h("span", { class: "sub" }, "last ", ago(beat))] : null],
    ["Progress", [status.progress], status.progress ? () => progress(status.progress) : null],
    text("Worker", status.machineId),
    text("Attempt", status.attempt ? String(status.attempt) : ""),
    text("Failures", status.numFailures ? `${status.numFailures} of ${asked.maxFailures || DEFAULT_MAX_FAILURES}` : ""),
    text("Interruptions", status.numInterruptions ? String(status.numInterruptions) : ""),
    when("Not before", not_before),
    text("Queue", queueOf(job)),
    text("Product", productOf(asked?.product)),
    text("Application", asked?.application ? `${asked.application.name} ${asked.application.version}` : ""),
    text("Owner", [job.owner?.createdBy, job.owner?.project].filter(Boolean).join(" · ")),
    ["Output folder", [job.output?.outputFolder], job.output?.outputFolder ? () => h("code", null, job.output.outputFolder) : null],
    ["Labels", labels, labels.length ? () => labels.map((label) => h("span", { class: "label" }, label)) : null],
    ["Command", [command], command ? () => h("code", { class: "command" }, command) : null],
  ];
}

function allocation(asked, status) {
  const base = spanOf(asked?.timeAllocation);
  const more = spanOf(status.grantedExtension);
  if (base === null && !more) return "";
  return more ? `${base === null ? "" : `${span(base)} `}+ ${span(more)} extended`.trim() : span(base);
}
