// The shell: who is signed in, the bar at the top, and which view is shown.

import { whoAmI } from "./api.js";
import { showBar } from "./bar.js";
import { fill, focusHeading, h } from "./dom.js";
import { tick } from "./format.js";
import { failure } from "./parts.js";
import { here } from "./router.js";
import { signInView } from "./sign_in.js";
import { eventsView } from "./events_view.js";
import { jobView } from "./job_view.js";
import { jobsView } from "./jobs_view.js";
import { queuesView } from "./queues_view.js";
import { submitView } from "./submit_view.js";
import { workersView } from "./workers_view.js";

const main = document.getElementById("main");
const bar = document.getElementById("bar");

// A view: `(context) => {title, element, changed?(query)}`; `changed` takes another query without leaving the view.
const VIEWS = {
  jobs: ([, id]) => (id ? jobView : jobsView),
  submit: () => submitView,
  workers: () => workersView,
  queues: () => queuesView,
  events: () => eventsView,
};

let session = null;
let shown = { key: null, end: null, view: null };

async function start() {
  try {
    session = await whoAmI();
  } catch (error) {
    fill(main, failure(error, start));
    return;
  }
  if (session) enter();
  else ask();
}

function ask(why = "") {
  leave();
  bar.hidden = true;
  document.title = "Sign in – Tenure";
  fill(main, signInView({ why, done: start }));
  main.querySelector("input[name=token]").focus();
}

function enter() {
  bar.hidden = false;
  showBar(bar, session, () => ask());
  show();
}

/** Somebody's session is over: what was asked for comes after signing in again. */
function signedOut() {
  session = null;
  ask("Your session is over. Sign in again to go on.");
}

function show() {
  if (!session) return;
  const { path, query } = here();
  const choose = VIEWS[path[0] ?? "jobs"];
  const key = path.length ? path.join("/") : "jobs";
  showBar.mark(bar, path[0] ?? "jobs");
  if (shown.key === key && shown.view?.changed) {
    shown.view.changed(query);
    return;
  }
  const first = shown.key === null;
  leave();
  const end = new AbortController();
  const view = choose
    ? choose(path)({ path, query, session, signal: end.signal, signedOut })
    : { title: "Not found", element: h("div", null, h("h1", null, "There is no such page"), h("a", { href: "#/jobs" }, "To the jobs")) };
  shown = { key, end, view };
  document.title = `${view.title} – Tenure`;
  fill(main, view.element);
  if (!first) {
    scrollTo(0, 0);
    focusHeading(main);
  }
}

function leave() {
  shown.end?.abort();
  shown = { key: null, end: null, view: null };
}

addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(tick, 1000);
start();
