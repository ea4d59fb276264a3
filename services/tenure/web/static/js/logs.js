// The output of a job's attempts, live while the server has it. Asked for only when somebody wants to see it: it is
// fetched from the worker then.

import { UNIMPLEMENTED, followLogs } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes } from "./format.js";
import { follow, isSignedOut } from "./live.js";
import { said } from "./parts.js";
import { isFinal } from "./words.js";

const KEPT = 512 * 1024; // Characters; older ones go.
const TERMINAL = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const MUTE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const WAITING = "Waiting for output …";
const RECONNECTING = "Reconnecting …";
const NOT_KEPT = "This server does not keep the output of jobs.";

export function logsPart(id, signal) {
  const which = h("select", { "aria-label": "Attempt", onchange: () => begin(Number(which.value)) });
  const show_button = h("button", { type: "button", onclick: () => begin(Number(which.value) || 0) }, "Show output");
  const stop_button = h("button", { type: "button", hidden: true, onclick: stop }, "Stop");
  const note = h("span", { class: "hint", role: "status" });
  const screen = h("pre", { class: "screen", tabindex: "0", "aria-label": "Output", hidden: true });
  const element = h("div", { class: "logs" }, h("div", { class: "row" }, which, show_button, stop_button, note), screen);
  let latest = 0; // number of the latest attempt
  let shown = null; // what is shown: {attempt, own, ended, leads, decoder, next}; `leads`: on to the attempt after it

  function begin(attempt, keep = false) {
    shown?.own.abort();
    // An older attempt was chosen, and is all that one wants to see.
    const leads = !attempt || attempt >= latest;
    shown = { attempt, own: new AbortController(), ended: false, leads, decoder: new TextDecoder(), next: 0 };
    if (attempt) which.value = attempt;
    if (!keep) fill(screen);
    note.textContent = WAITING;
    screen.hidden = false;
    show_button.hidden = true;
    stop_button.hidden = false;
    const mine = shown;
    follow({
      open: (token, each) => followLogs(id, { attempt: mine.attempt || undefined, fromOffset: token }, each),
      place: (piece) => (piece.offset === undefined ? "" : String(Number(piece.offset) + size(piece))),
      message: (piece) => mine === shown && take(piece),
      state: (state, error) => mine === shown && going(state, error),
      signal: AbortSignal.any([signal, mine.own.signal]),
    });
  }

  // A piece without data says that the server is there, and which attempt it is about: a connection that breaks before
  // the first byte is to go on in the same one.
  function take(piece) {
    shown.attempt = piece.attempt || shown.attempt;
    if (!size(piece) && !piece.end) return;
    const offset = Number(piece.offset);
    if (size(piece)) {
      note.textContent = "";
      if (offset > shown.next) put(`… ${bytes(offset - shown.next)} are not kept …\n`);
      shown.next = offset + size(piece);
      put(shown.decoder.decode(Uint8Array.from(atob(piece.data), (each) => each.charCodeAt(0)), { stream: true }));
    }
    if (!piece.end) return;
    end(shown.next ? `End of attempt ${shown.attempt}.` : "There is no output.");
    go_on();
  }

  function going(state, error) {
    if (state === "waiting") note.textContent = RECONNECTING;
    if (state === "live" && note.textContent === RECONNECTING) note.textContent = shown.next ? "" : WAITING;
    if (state !== "failed") return;
    const not_kept = error.code === UNIMPLEMENTED;
    end(not_kept ? NOT_KEPT : isSignedOut(error) ? "Sign in again to see it." : said(error));
    screen.hidden = !screen.textContent;
  }

  function end(text) {
    shown.own.abort();
    shown.ended = true;
    note.textContent = text;
    stop_button.hidden = true;
    show_button.hidden = false;
  }

  function stop() {
    shown.leads = false;
    end("Stopped.");
  }

  // Whoever saw the latest attempt to its end sees the next one too. That may be known first: the rest of the output of
  // a worker that is lost is waited for while another one has the job.
  function go_on() {
    if (!shown?.ended || !shown.leads || latest <= shown.attempt) return;
    put(`\n— attempt ${latest} —\n`);
    begin(latest, true);
  }

  function put(text) {
    const at_end = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 24;
    screen.append(text.replace(TERMINAL, "").replace(MUTE, ""));
    while (screen.textContent.length > KEPT && screen.childNodes.length > 1) screen.firstChild.remove();
    if (at_end) screen.scrollTop = screen.scrollHeight;
  }

  function show(job) {
    const newest = job.status.attempt ?? 0;
    const kept = job.status.resolvedSupport?.logs !== false;
    const numbers = (job.attempts ?? []).map(({ number }) => number).toReversed();
    if (numbers.length !== which.length || newest !== latest) {
      fill(which, numbers.map((number) => h("option", { value: number }, `Attempt ${number}${number === newest ? ", the latest" : ""}`)));
      if (shown?.attempt) which.value = shown.attempt;
    }
    which.hidden = newest < 2;
    latest = newest;
    show_button.disabled = !newest || !kept;
    if (!shown) note.textContent = kept ? (newest ? "" : isFinal(job.status) ? "It never ran." : "It has not run yet.") : "Its queue does not keep output.";
    go_on();
  }

  signal.addEventListener("abort", () => shown?.own.abort());
  return { element, show };
}

/** How many bytes a piece has; base64 has four characters for three. */
function size({ data }) {
  if (!data) return 0;
  return (data.length / 4) * 3 - (data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0);
}
