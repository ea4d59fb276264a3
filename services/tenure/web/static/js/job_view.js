// One job. It is read once and watched from there: heartbeats change it in place, everything else has it read again.

import { PERMISSION_DENIED, UNIMPLEMENTED, Refused, explainJob, readEvents, retrieveJob, watchJobs } from "./api.js";
import { attemptsTable } from "./attempts.js";
import { fill, h, refill, setText } from "./dom.js";
import { atClock, instantOf } from "./format.js";
import { askExtend, askTerminate } from "./job_actions.js";
import { facts } from "./job_facts.js";
import { follow, isSignedOut, repeat } from "./live.js";
import { logsPart } from "./logs.js";
import { copyButton, empty, failure, liveMark, loading, pill, statePill } from "./parts.js";
import { specificationPart } from "./specification.js";
import { timelinePart } from "./timeline.js";
import { isFinal, titleOf } from "./words.js";

const FLAGS = { includeProduct: true, includeApplication: true, includeSupport: true };
const SOON_MS = 120;
const EXPLAIN_MS = 4000;
const HISTORY = ["JobCreated", "JobHeartbeat", "JobExtended"];
const HISTORY_EVENTS = 3000;

export function jobView({ path, session, signal, signedOut }) {
  const id = path[1];
  const place = h("section", null, h("h1", { class: "visually-hidden" }, `Job ${id}`), loading());
  const ended = new AbortController();
  const whole = AbortSignal.any([signal, ended.signal]);
  const history = new Map(); // position → event: what no summary of the job tells
  let page = null;
  let job = null;
  let soon = 0;

  async function load() {
    try {
      const answer = await retrieveJob(id, FLAGS);
      if (signal.aborted) return;
      page = jobPage(answer.job, signal);
      refill(place, page.elements);
      take(answer.job);
      if (session.role === "admin") remember_history();
      if (!isFinal(job.status)) watch(answer.resumeToken);
    } catch (error) {
      if (signal.aborted) return;
      if (isSignedOut(error)) return signedOut();
      const missing = error instanceof Refused && error.reason === "JOB_NOT_FOUND";
      refill(place, h("h1", null, "Job"), missing ? empty("There is no such job, or it is not yours.", h("p", { class: "mono" }, id)) : failure(error, load));
    }
  }

  function take(other) {
    job = other;
    document.title = `${titleOf(job.specification, job.id)} – Tenure`;
    page.show(job, history);
    if (!isFinal(job.status)) return;
    page.live.element.hidden = true;
    ended.abort();
  }

  function watch(token) {
    follow({
      open: (from, each) => watchJobs({ ids: [id], resumeToken: from }, each),
      message: changed,
      state: (state, error) => {
        page.live.set(state, error);
        if (state === "failed" && isSignedOut(error)) signedOut();
      },
      restart: async () => {
        const answer = await retrieveJob(id, FLAGS);
        if (!whole.aborted) take(answer.job);
        return answer.resumeToken;
      },
      token,
      signal: whole,
    });
    repeat(explain, EXPLAIN_MS, whole);
  }

  function changed({ event }) {
    if (!event) return;
    if (event.event) history.set(event.event.position, event.event);
    const beat = event.event?.jobHeartbeat;
    const newer = Number(event.event?.streamVersion) > Number(job.version);
    if (beat && newer && job.attempts.some(({ number }) => number === beat.attempt)) take(beaten(job, beat, event));
    else if (newer) soon ||= setTimeout(again, SOON_MS);
  }

  async function again() {
    soon = 0;
    try {
      const answer = await retrieveJob(id, FLAGS);
      if (signal.aborted) return;
      // A heartbeat, or an answer to a later question, may have been here first: what that left out is asked for.
      if (Number(answer.job.version) >= Number(job.version)) take(answer.job);
      else if (!isFinal(job.status)) soon ||= setTimeout(again, SOON_MS);
    } catch (error) {
      if (isSignedOut(error)) signedOut();
      else if (!signal.aborted) soon ||= setTimeout(again, 2000);
    }
  }

  async function explain() {
    if (job.status.state !== "JOB_STATE_IN_QUEUE") return page.explain("");
    try {
      page.explain((await explainJob(id)).summary);
    } catch (error) {
      page.explain("");
      if (isSignedOut(error)) signedOut();
    }
  }

  async function remember_history() {
    try {
      for await (const message of readEvents({ filter: { jobIds: [id], types: HISTORY }, limit: HISTORY_EVENTS }, signal))
        for (const event of message.events ?? []) history.set(event.position, event);
      page.show(job, history);
    } catch (error) {
      const expected = error instanceof Refused && [PERMISSION_DENIED, UNIMPLEMENTED].includes(error.code);
      if (!signal.aborted && !expected) console.warn("The job's heartbeats and extensions cannot be read.");
    }
  }

  signal.addEventListener("abort", () => clearTimeout(soon));
  load();
  return { title: `Job ${id.slice(0, 8)}`, element: place };
}

/** A job after a heartbeat, without asking the server. */
function beaten(job, beat, { status, event }) {
  const attempts = (job.attempts ?? []).map((attempt) =>
    attempt.number === beat.attempt
      ? {
          ...attempt,
          numHeartbeats: beat.count,
          bytesDownloaded: beat.transfer?.bytesDownloaded ?? attempt.bytesDownloaded,
          bytesUploaded: beat.transfer?.bytesUploaded ?? attempt.bytesUploaded,
        }
      : attempt,
  );
  const { resolvedApplication, resolvedProduct, resolvedSupport } = job.status;
  return { ...job, version: event.streamVersion, attempts, status: { ...status, resolvedApplication, resolvedProduct, resolvedSupport } };
}

/** The parts of the page of a job; `show` brings them up to date. */
function jobPage(first, signal) {
  const live = liveMark();
  const heading = h("h1");
  const state = h("span", { class: "state" });
  const why = h("p", { class: "why", role: "status" });
  const extend = h("button", { type: "button", onclick: () => askExtend(job) }, "Extend …");
  const terminate = h("button", { type: "button", class: "danger", onclick: () => askTerminate(job) }, "End job …");
  const summary = h("dl", { class: "facts" });
  const timeline = timelinePart(signal);
  const attempts = attemptsTable();
  const updates = h("ol", { class: "updates" });
  const specification = specificationPart(first.specification);
  const logs = logsPart(first.id, signal);
  let job = first;

  function show(other, history) {
    job = other;
    setText(heading, titleOf(job.specification, job.id));
    const drawn = JSON.stringify([job.status.state, job.status.outcome]);
    if (state.dataset.drawn !== drawn) fill(state, pill(job.status));
    state.dataset.drawn = drawn;
    const final = isFinal(job.status);
    extend.hidden = final || job.status.state === "JOB_STATE_CANCELING";
    terminate.hidden = final;
    facts(summary, job);
    timeline.show(job, history);
    attempts.show(job);
    showUpdates(updates, job);
    logs.show(job);
  }

  return {
    live,
    show,
    explain(text) {
      setText(why, text);
      why.hidden = !text;
    },
    elements: [
      h("p", { class: "crumb" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("span", { class: "mono", title: first.id }, first.id), copyButton(first.id, "the id")),
      h("div", { class: "head" }, heading, state, live.element,
        h("div", { class: "actions" }, h("a", { class: "button", href: `#/submit?from=${encodeURIComponent(first.id)}` }, "Run again …"), extend, terminate)),
      why,
      summary,
      timeline.element,
      part("Attempts", attempts.element),
      part("Updates", updates),
      part("Output", logs.element),
      part("Specification", specification),
    ],
  };
}

function part(title, ...content) {
  return h("section", { class: "part" }, h("h2", null, title), content);
}

function showUpdates(list, job) {
  const known = JSON.stringify([job.updates?.length, job.updates?.at(-1)?.position]);
  if (list.dataset.drawn === known) return;
  list.dataset.drawn = known;
  const lines = (job.updates ?? []).map((update) =>
    h("li", null, atClock(instantOf(update.timestamp)), statePill(update.state), h("span", { class: "text" }, update.status)),
  );
  if (job.updatesLeftOut) lines.splice(10, 0, h("li", { class: "hint" }, `${job.updatesLeftOut} updates are left out here.`));
  fill(list, lines);
}
