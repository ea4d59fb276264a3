// Keeps a stream going: reconnects with the last resume token, waits longer after each failure, and gives the
// connection back while nobody looks at the page (a browser has only six of them for a server).

import { OUT_OF_REACH, Refused, UNAUTHENTICATED } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 30_000; // The server says something at least every 10 s.
const HIDDEN_MS = 20_000;
const BEGIN_AGAIN = new Set(["RESUME_TOKEN_TOO_OLD", "RESUME_TOKEN_INVALID", "LOG_REGRESSED"]);
const WORTH_A_RETRY = new Set([OUT_OF_REACH, 4, 8, 10, 13, 14]);

/**
 * Follows a stream until `signal` is aborted.
 *
 * @param {object} how
 * @param {(token: string, signal: AbortSignal) => AsyncIterable<object>} how.open begins after this token; "": anew
 * @param {(message: object) => void} how.message takes each message
 * @param {(state: "connecting"|"live"|"waiting"|"paused"|"failed", error?: Error) => void} how.state how it is going
 * @param {(() => Promise<string>)=} how.restart the token is no good any more: read everything again, give a new one
 * @param {string=} how.token to begin after
 * @param {((message: object) => string)=} how.place where to go on after a message; its resume token, if not given
 * @param {AbortSignal} how.signal the end
 */
export async function follow({ open, message, state, restart, token = "", place = (each) => each.resumeToken, signal }) {
  let wait_ms = FIRST_WAIT_MS;
  while (!signal.aborted) {
    await seen(signal, state);
    if (signal.aborted) return;
    state("connecting");
    const attempt = attempt_of(signal);
    try {
      for await (const each of open(token, attempt.signal)) {
        attempt.heard();
        state("live");
        const reached = place(each);
        if (!reached && !each.snapshot) continue; // It has only been agreed to.
        token = reached || token; // What breaks off within a snapshot begins anew.
        wait_ms = FIRST_WAIT_MS;
        message(each);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && restart && BEGIN_AGAIN.has(error.reason)) {
        token = await restarted(restart, token);
      } else if (error instanceof Refused && !WORTH_A_RETRY.has(error.code)) {
        state("failed", error);
        return;
      } else if (!(error instanceof Refused) && error.name !== "AbortError") throw error;
    } finally {
      attempt.end();
    }
    if (signal.aborted || attempt.hidden()) continue;
    state("waiting");
    await pause(wait_ms * (0.7 + Math.random() * 0.6), signal);
    wait_ms = Math.min(wait_ms * 2, LONGEST_WAIT_MS);
  }
}

/** Whether an error means that one has to sign in again. */
export function isSignedOut(error) {
  return error instanceof Refused && error.code === UNAUTHENTICATED;
}

async function restarted(restart, token) {
  try {
    return await restart();
  } catch {
    return token; // Out of reach: it is asked again with the old one, and comes back here.
  }
}

/** One connection: ended by silence, by hiding the page for a while, and by `signal`. */
function attempt_of(signal) {
  const own = new AbortController();
  let silence = 0;
  let hiding = 0;
  let gave_back = false;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => own.abort(), SILENCE_MS);
  };
  const looked = () => {
    clearTimeout(hiding);
    if (!document.hidden) return;
    hiding = setTimeout(() => {
      gave_back = true;
      own.abort();
    }, HIDDEN_MS);
  };
  heard();
  looked();
  document.addEventListener("visibilitychange", looked);
  return {
    signal: AbortSignal.any([signal, own.signal]),
    heard,
    hidden: () => gave_back,
    end() {
      clearTimeout(silence);
      clearTimeout(hiding);
      document.removeEventListener("visibilitychange", looked);
      own.abort();
    },
  };
}

/** Waits until somebody looks. */
async function seen(signal, state) {
  if (!document.hidden) return;
  state("paused");
  await happened(signal, (done) => {
    const look = () => document.hidden || done();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  });
}

/** Waits for so long, or until the network is back. */
function pause(ms, signal) {
  return happened(signal, (done) => {
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    return () => {
      clearTimeout(timer);
      removeEventListener("online", done);
    };
  });
}

function happened(signal, begin) {
  return new Promise((resolve) => {
    const done = () => {
      stop();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const stop = begin(done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Does something now and then again every so often while somebody looks, until `signal` is aborted. */
export async function repeat(work, every_ms, signal) {
  while (!signal.aborted) {
    await seen(signal, () => {});
    if (signal.aborted) return;
    await work();
    await pause(every_ms, signal);
  }
}
