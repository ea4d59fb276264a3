// What an event says, in one line.

import { bytes, clockTime, instantOf, span, spanOf } from "./format.js";
import { exitOf, word } from "./words.js";

const ENVELOPE = new Set(["position", "stream", "streamVersion", "eventId", "time", "actor", "requestId", "requestDigest"]);

/** `JobCreated`; `?` for a kind that is not known here. */
export function typeOf(event) {
  const kind = kindOf(event);
  return kind ? kind[0].toUpperCase() + kind.slice(1) : "?";
}

export function describe(event) {
  const kind = kindOf(event);
  const text = WORDS[kind]?.(event[kind]) ?? "";
  return text.trim();
}

function kindOf(event) {
  return Object.keys(event).find((name) => !ENVELOPE.has(name)) ?? "";
}

const because = (reason) => (reason ? `: ${reason}` : "");
const attempt = (payload) => `attempt ${payload.attempt} on ${payload.workerId}`;

const WORDS = {
  jobCreated: (payload) => {
    const command = [payload.command, ...(payload.arguments ?? [])].join(" ");
    const time = payload.terms?.timeAllocation ? ` for ${span(spanOf(payload.terms.timeAllocation))}` : "";
    return `${payload.facets?.name ? `“${payload.facets.name}” ` : ""}by ${payload.createdBy} in ${payload.queue}${time}: ${command}`;
  },
  jobAssigned: (payload) => `attempt ${payload.attempt} given to ${payload.workerId}, lease ${span(spanOf(payload.lease))}`,
  assignmentDeclined: (payload) => `attempt ${payload.attempt} not taken by ${payload.workerId}${because(payload.reason)}`,
  jobStarted: (payload) => `${attempt(payload)} started${payload.deadline ? `, ends ${clockTime(instantOf(payload.deadline))}` : ""}`,
  jobHeartbeat: (payload) => {
    const progress = payload.progress === undefined ? "" : `, ${Math.round(payload.progress * 100)} % ${payload.progressMessage ?? ""}`;
    const { bytesDownloaded: down, bytesUploaded: up, filesPending } = payload.transfer ?? {};
    const toGo = Number(filesPending ?? 0) ? `, ${filesPending} files to go` : "";
    const copied = (Number(down ?? 0) || Number(up ?? 0) ? `, ↓ ${bytes(down)} ↑ ${bytes(up)}` : "") + toGo;
    return `attempt ${payload.attempt}, beat ${payload.count}, ${word(payload.stage, "STAGE_")}${progress}${copied}`;
  },
  jobExtended: (payload) => `extended by ${span(spanOf(payload.requestedTime))}`,
  attemptFailed: (payload) => `${attempt(payload)} failed: ${[word(payload.stage, "STAGE_"), exitOf(payload), payload.message].filter(Boolean).join(", ")}`,
  attemptReleased: (payload) => `${attempt(payload)} given back${because(payload.reason)}`,
  leaseExpired: (payload) => `${attempt(payload)} lost, silent for ${span(spanOf(payload.silence))}`,
  jobRequeued: (payload) => `waits again after ${attempt(payload)}${because(payload.reason)}`,
  cancelRequested: (payload) => `to be cancelled until ${clockTime(instantOf(payload.until))}${because(payload.reason)}`,
  jobTerminated: (payload) => `${word(payload.outcome, "OUTCOME_")}${because(payload.reason)}`,
  queueConfigured: (payload) => `products: ${payload.products?.length ?? 0}`,
  queuePaused: (payload) => `gives out no jobs${because(payload.reason)}`,
  queueResumed: () => "gives out jobs again",
};
