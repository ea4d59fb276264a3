// The output of a job's command, followed as long as the server has it. Asked for only when somebody wants to see it.

import { UNIMPLEMENTED, Refused, followLogs } from "./api.js";
import { fill, h } from "./dom.js";
import { isSignedOut } from "./live.js";
import { said } from "./parts.js";
import { isFinal } from "./words.js";

const KEPT = 512 * 1024; // Characters; older ones go.
const TERMINAL = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const MUTE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const NOT_KEPT = "This server does not keep the output of jobs.";
let not_kept = false; // Found out once, known for the visit.

export function logsPart(id, signal) {
  const show_button = h("button", { type: "button", onclick: begin }, "Show output");
  const stop_button = h("button", { type: "button", hidden: true, onclick: () => end("Stopped.") }, "Stop");
  const note = h("span", { class: "hint", role: "status" });
  const screen = h("pre", { class: "screen", tabindex: "0", "aria-label": "Output", hidden: true });
  const element = h("div", { class: "logs" }, h("div", { class: "row" }, show_button, stop_button, note), screen);
  let job = null;
  let own = null;

  async function begin() {
    own?.abort();
    own = new AbortController();
    const mine = own;
    fill(screen);
    screen.hidden = false;
    show_button.hidden = true;
    stop_button.hidden = false;
    note.textContent = "Waiting for output …";
    const decoders = new Map(); // attempt → decoder: a character may come in two pieces
    let attempt = 0;
    try {
      for await (const piece of followLogs(id, {}, own.signal)) {
        if (!piece.data && !piece.end) continue;
        note.textContent = "";
        const number = piece.attempt ?? 0;
        if (number !== attempt) put(`${attempt ? "\n" : ""}— attempt ${number} —\n`);
        attempt = number;
        if (!decoders.has(number)) decoders.set(number, new TextDecoder());
        put(decoders.get(number).decode(Uint8Array.from(atob(piece.data ?? ""), (each) => each.charCodeAt(0)), { stream: true }));
        if (piece.end) note.textContent = `End of attempt ${number}.`;
      }
      if (!mine.signal.aborted) end(attempt ? "That is all." : "There is no output.");
    } catch (error) {
      if (mine.signal.aborted) return;
      not_kept = error instanceof Refused && error.code === UNIMPLEMENTED;
      end(not_kept ? NOT_KEPT : isSignedOut(error) ? "Sign in again to see it." : said(error));
      if (!attempt) screen.hidden = true;
      show_button.hidden = not_kept;
    }
  }

  function end(text) {
    own?.abort();
    note.textContent = text;
    stop_button.hidden = true;
    show_button.hidden = false;
  }

  function put(text) {
    const at_end = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 24;
    screen.append(text.replace(TERMINAL, "").replace(MUTE, ""));
    while (screen.textContent.length > KEPT && screen.childNodes.length > 1) screen.firstChild.remove();
    if (at_end) screen.scrollTop = screen.scrollHeight;
  }

  function show(other) {
    job = other;
    if (not_kept) {
      show_button.hidden = true;
      note.textContent = NOT_KEPT;
    } else if (!own) note.textContent = job.attempts?.length || isFinal(job.status) ? "" : "Its command has not started.";
  }

  signal.addEventListener("abort", () => own?.abort());
  return { element, show };
}
