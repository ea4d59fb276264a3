// Extending and ending a job, each after a question that says what will come of it.

import { extendJobs, requestId, terminateJobs } from "./api.js";
import { ask } from "./dialog.js";
import { fill, h } from "./dom.js";
import { clockTime, durationText, exact, instantOf, parseSpan, relative, span } from "./format.js";
import { field, say, said } from "./parts.js";
import { titleOf } from "./words.js";

const AMOUNTS = ["15m", "1h", "6h", "1d"];
const GRACES = { "0s": "none: it ends at once", "30s": "30 seconds", "2m": "2 minutes", "10m": "10 minutes", "1h": "1 hour" };
const PREVIEW_MS = 250;
const HOW = "Write it like 90s, 1h30m or 2d.";

/** Asks by how much, shows what the server makes of it, and extends. */
export function askExtend(job) {
  const amount = h("input", { type: "text", value: "1h", autocomplete: "off", spellcheck: "false", oninput: later });
  const preview = h("p", { class: "preview", role: "status", "aria-live": "polite" });
  const quick = AMOUNTS.map((text) => h("button", { type: "button", onclick: () => choose(text) }, `+ ${text}`));
  const requests = sameRequest();
  let action = null;
  let timer = 0;
  let asked = 0;

  function choose(text) {
    amount.value = text;
    look();
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(look, PREVIEW_MS);
  }

  async function look() {
    clearTimeout(timer);
    asked += 1;
    const mine = asked;
    const ms = parseSpan(amount.value);
    amount.setAttribute("aria-invalid", ms ? "false" : "true");
    action.textContent = ms ? `Extend by ${span(ms)}` : "Extend";
    action.disabled = !ms;
    if (!ms) return show("bad", HOW);
    try {
      const answer = await extendJobs({ items: [{ jobId: job.id, requestedTime: durationText(ms) }], validateOnly: true });
      if (mine === asked) show("", ...foreseen(job, answer.responses?.[0]?.expiresAt));
    } catch (error) {
      if (mine !== asked) return;
      action.disabled = true;
      show("bad", said(error));
    }
  }

  function show(kind, ...content) {
    preview.className = `preview ${kind}`;
    fill(preview, content);
  }

  return ask({
    title: "Extend this job",
    body: [
      h("p", { class: "about" }, titleOf(job.specification, job.id)),
      field("Add", amount, "As in 90s, 1h30m, 2d."),
      h("div", { class: "quick", role: "group", "aria-label": "Usual amounts" }, quick),
      preview,
    ],
    action: "Extend",
    ready: (form) => {
      action = form.action;
      look();
      amount.select();
    },
    confirm: async () => {
      const ms = parseSpan(amount.value);
      const items = [{ jobId: job.id, requestedTime: durationText(ms) }];
      const answer = await extendJobs({ items, requestId: requests(items) });
      say(`Extended by ${span(ms)}`);
      return answer;
    },
  });
}

function foreseen(job, expires_at) {
  const before = instantOf(job.status.expiresAt);
  const after = instantOf(expires_at);
  if (after === null) return ["Its time begins to count when it starts."];
  const when = (at) => h("time", { datetime: new Date(at).toISOString(), title: exact(at) }, clockTime(at));
  return ["It will end at ", when(after), ` (${relative(after)})`, before === null ? "." : [" instead of ", when(before), "."]];
}

/** Asks with how much grace and why, and ends the job. */
export function askTerminate(job) {
  const running = job.status.state === "JOB_STATE_RUNNING";
  const grace = h("select", null, Object.entries(GRACES).map(([value, label]) => h("option", { value, selected: value === (running ? "30s" : "0s") }, label)));
  const reason = h("textarea", { rows: 2, maxlength: 1000, autocomplete: "off" });
  const requests = sameRequest();
  return ask({
    title: "End this job?",
    body: [
      h("p", { class: "about" }, titleOf(job.specification, job.id)),
      h("p", null, "It stops for good. ", running ? "With a grace period its command is told first, and may save its work." : "It has not started its command."),
      running ? field("Grace period", grace) : null,
      field("Reason (for people, may be empty)", reason),
    ],
    action: "End job",
    danger: true,
    confirm: async () => {
      const ms = running ? parseSpan(grace.value) : 0;
      const item = { id: job.id, reason: reason.value.trim(), ...(ms ? { gracePeriod: durationText(ms) } : {}) };
      const answer = await terminateJobs({ items: [item], requestId: requests(item) });
      say(ms ? "The job is being ended" : "The job has been ended");
      return answer;
    },
  });
}

/** Gives one request id for as long as the same is asked: pressing again after a lost answer does it once. */
export function sameRequest() {
  let last = "";
  let id = "";
  return (body) => {
    const text = JSON.stringify(body);
    if (text !== last) id = requestId();
    last = text;
    return id;
  };
}
