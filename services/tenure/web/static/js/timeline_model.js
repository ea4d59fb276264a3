// What the timeline of a job shows, in milliseconds and nothing else: no element, no clock. timeline.js draws it.

import { instantOf, spanOf } from "./format.js";
import { isFinal, stateWord, word } from "./words.js";

const DRAWN_ATTEMPTS = 12;
const BADGES = { succeeded: "✓", failed: "✕", cancelled: "■", expired: "⏲", released: "↩", "lease expired": "?", declined: "–" };

/**
 * @param {object} job as RetrieveJob answers
 * @param {Map<string, object>} history events of the job that are known besides: created, heartbeats, extensions
 * @param {number} now
 * @returns {{begin, end, final, states: {key, label, from, to}[], allocation: object|null, attempts: object[], more: number}}
 */
export function timelineModel(job, history, now) {
  const begin = instantOf(job.createdAt) ?? now;
  const final = isFinal(job.status);
  const end = final ? ended(job, begin) : Math.max(now, begin);
  const events = [...history.values()].sort((one, other) => Number(one.position) - Number(other.position));
  const attempts = (job.attempts ?? []).map((attempt) => drawn(attempt, job, events, end));
  return {
    begin,
    end,
    final,
    states: states(job, begin, end),
    allocation: allocation(job, events, begin, final),
    attempts: attempts.slice(-DRAWN_ATTEMPTS),
    more: Math.max(0, attempts.length - DRAWN_ATTEMPTS),
  };
}

function ended(job, begin) {
  const last = job.updates?.at(-1);
  return instantOf(last?.timestamp) ?? instantOf(job.attempts?.at(-1)?.endedAt) ?? begin;
}

/** Stretches of one state each; updates that change nothing make no new one. */
function states(job, begin, end) {
  const found = [];
  for (const update of job.updates ?? []) {
    const at = instantOf(update.timestamp) ?? begin;
    const [key, label] = stateWord(update.state);
    const last = found.at(-1);
    if (last?.key === key) continue;
    if (last) last.to = at;
    found.push({ key, label, from: found.length ? at : begin, to: end });
  }
  return found.filter(({ from, to }) => to > from);
}

/** From when to when the job may hold its machine: the time asked for, each extension, and where it ends. */
function allocation(job, events, begin, final) {
  const created = events.find((event) => event.jobCreated)?.jobCreated;
  const base = spanOf(created?.terms?.timeAllocation ?? job.specification?.timeAllocation);
  const known = events.filter((event) => event.jobExtended);
  const extensions = known.map((event) => ({ at: instantOf(event.time), by: spanOf(event.jobExtended.requestedTime) }));
  const granted = spanOf(job.status.grantedExtension) ?? 0;
  const told = extensions.reduce((sum, { by }) => sum + by, 0);
  const deadline = final ? null : instantOf(job.status.expiresAt);
  const counted_from = deadline !== null && base !== null ? deadline - granted - base : counted(job, created, begin);
  if (base === null || counted_from === null) return null;
  return {
    from: counted_from,
    base: counted_from + base,
    to: deadline ?? counted_from + base + granted,
    extensions,
    untold: Math.max(0, granted - told),
  };
}

/** From when the time of a job counts that has ended, as far as is known. */
function counted(job, created, begin) {
  const basis = created?.terms?.basis;
  if (basis === "ALLOCATION_BASIS_CREATED") return begin;
  return basis === "ALLOCATION_BASIS_STARTED" ? instantOf(job.status.startedAt) : null;
}

function drawn(attempt, job, events, end) {
  const assigned = instantOf(attempt.assignedAt);
  const to = instantOf(attempt.endedAt);
  const mine = events.filter((event) => event.jobHeartbeat?.attempt === attempt.number);
  const beats = mine.map((event) => instantOf(event.jobHeartbeat.lastBeat) ?? instantOf(event.time));
  const latest = attempt.number === job.status.attempt ? instantOf(job.status.lastHeartbeatAt) : null;
  const last = Math.max(...beats, latest ?? 0);
  if (last > 0 && !beats.includes(last)) beats.push(last);
  const reason = word(attempt.endReason, "ATTEMPT_END_REASON_");
  return {
    number: attempt.number,
    worker: attempt.machineId,
    assigned,
    started: instantOf(attempt.startedAt),
    to: to ?? end,
    live: to === null,
    reason,
    badge: BADGES[reason] ?? "",
    beats,
    last: last > 0 ? last : null,
    count: Number(attempt.numHeartbeats ?? 0),
  };
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];

/** Whole steps of time between 0 and `length`, about `wanted` of them; milliseconds. */
export function ticks(length, wanted) {
  const step = 1000 * (STEPS.find((each) => (each * 1000 * wanted) >= length) ?? 2_592_000);
  const found = [];
  for (let at = 0; at <= length; at += step) found.push(at);
  return found;
}
