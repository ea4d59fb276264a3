// The attempts of a job as a table.

import { fill, h } from "./dom.js";
import { atClock, bytes, instantOf, span } from "./format.js";
import { table } from "./parts.js";
import { exitOf, isFinal, word } from "./words.js";

const COLUMNS = [{ label: "#", class: "number" }, "Worker", "Assigned", "Started", "Ended", "Took", "Stage", "End",
  { label: "Beats", class: "number" }, { label: "Down", class: "number" }, { label: "Up", class: "number" }, "Message"];

export function attemptsTable() {
  const body = h("tbody");
  const frame = table("Attempts", COLUMNS, body, { class: "attempts" });
  const none = h("p", { class: "hint" });
  const element = h("div", null, none, frame);
  let drawn = "";

  function show(job) {
    const attempts = job.attempts ?? [];
    const now = JSON.stringify([attempts, isFinal(job.status)]);
    if (now === drawn) return;
    drawn = now;
    none.hidden = attempts.length > 0;
    frame.hidden = !attempts.length;
    none.textContent = isFinal(job.status) ? "It ended before any worker had it." : "No worker has had it yet.";
    fill(body, attempts.toReversed().map(row));
  }

  return { element, show };
}

function row(attempt) {
  const started = instantOf(attempt.startedAt);
  const ended = instantOf(attempt.endedAt);
  const begun = started ?? instantOf(attempt.assignedAt);
  const end = [word(attempt.endReason, "ATTEMPT_END_REASON_"), exitOf(attempt)].filter(Boolean).join(", ");
  return h(
    "tr",
    null,
    h("td", { class: "number" }, String(attempt.number)),
    h("td", { class: "tight" }, attempt.machineId),
    h("td", { class: "tight" }, atClock(instantOf(attempt.assignedAt))),
    h("td", { class: "tight" }, atClock(started)),
    h("td", { class: "tight" }, atClock(ended)),
    h("td", { class: "tight" }, ended === null ? "" : span(ended - begun)),
    h("td", { class: "tight" }, word(attempt.stage, "ATTEMPT_STAGE_")),
    h("td", null, end || h("span", { class: "pill", "data-state": "running" }, "live")),
    h("td", { class: "number" }, String(attempt.numHeartbeats ?? 0)),
    h("td", { class: "number" }, bytes(attempt.bytesDownloaded)),
    h("td", { class: "number" }, bytes(attempt.bytesUploaded)),
    h("td", { class: "message" }, attempt.message ?? ""),
  );
}
