// The list of jobs: filtered, sorted and paged by the server, kept true by a watch with the same filter.
//
// The watch begins at the end of the log as it was before the page was asked for. An event of a job on the page changes
// its row; a new job, or one that no longer fits the filter, has the page asked for again, soon but not at every event.
// What the watch tells while a page is on its way may be newer than that page, and is told to its rows once more.

import { browseJobs, watchJobs } from "./api.js";
import { fill, h } from "./dom.js";
import { filterBar } from "./filter_bar.js";
import { head } from "./head.js";
import { jobRows } from "./job_rows.js";
import { follow, isSignedOut } from "./live.js";
import { empty, failure, liveMark, loading } from "./parts.js";
import { address, go } from "./router.js";

const PAGE_SIZE = 50;
const SOON_MS = 400;
const AT_MOST_EVERY_MS = 1500;
// What cannot bring a job onto the page or move it: most of what happens.
const QUIET = ["jobHeartbeat", "jobAssigned", "assignmentDeclined"];

export function jobsView({ query, signal, signedOut }) {
  const live = liveMark();
  const bar = filterBar(query, (parameters) => go(address(["jobs"], parameters)), find);
  const place = h("div", { class: "list" }, loading());
  const pages = h("div", { class: "pages" });
  const element = h(
    "section",
    null,
    h("div", { class: "head" }, h("h1", null, "Jobs"), live.element, h("a", { class: "button primary", href: "#/submit" }, "New job")),
    bar.element,
    place,
    pages,
  );
  const rows = jobRows({ sort: (sort) => bar.sort(sort) });
  // The page tokens that led here, so that there is a way back.
  let trail = [];
  let current = query;
  let running = null;
  let soon = 0;
  let last = -Infinity; // when the page was last asked for again
  const asked = new Set(); // for each page on its way: job → its last event since it was asked for

  function find(text) {
    rows.find(text);
    showCount();
  }

  async function load() {
    running?.abort();
    running = new AbortController();
    const own = AbortSignal.any([signal, running.signal]);
    try {
      const begin = await head(own);
      await page(own);
      if (!own.aborted) watch(begin.token, own);
    } catch (error) {
      if (own.aborted) return;
      if (isSignedOut(error)) return signedOut();
      fill(place, failure(error, load));
      live.set("failed", error);
    }
  }

  async function page(own) {
    const since = new Map();
    asked.add(since);
    try {
      const answer = await browseJobs({ ...bar.request(current), pageSize: PAGE_SIZE, pageToken: trail.at(-1) });
      // One that was asked for later was here first.
      if (!own.aborted && asked.has(since)) take_page(answer, since);
    } finally {
      asked.delete(since);
    }
  }

  function take_page(answer, since) {
    for (const each of asked) {
      asked.delete(each);
      if (each === since) break;
    }
    rows.show(answer.jobs ?? [], current.get("sort") ?? "");
    for (const each of since.values()) rows.change(each);
    showList(answer.nextPageToken);
  }

  function showList(next) {
    if (rows.count()) {
      if (!place.contains(rows.element)) fill(place, rows.element);
    } else if (trail.length || bar.isFiltered()) fill(place, empty("No job fits.", h("p", null, h("a", { href: "#/jobs" }, "Show all jobs"))));
    else fill(place, empty("No jobs yet.", h("p", null, h("a", { class: "button primary", href: "#/submit" }, "Submit the first"))));
    fill(
      pages,
      h("span", { class: "count", role: "status" }),
      trail.length ? h("button", { type: "button", onclick: () => step(trail.slice(0, -1)) }, "Newer page") : null,
      next ? h("button", { type: "button", onclick: () => step([...trail, next]) }, "Next page") : null,
    );
    showCount();
  }

  function showCount() {
    const count = pages.querySelector(".count");
    if (count) count.textContent = rows.count() ? rows.told() + (trail.length ? `, page ${trail.length + 1}` : "") : "";
  }

  function step(other) {
    trail = other;
    load().then(() => place.scrollIntoView({ block: "nearest" }));
  }

  function watch(token, own) {
    follow({
      open: (from, each) => watchJobs({ flags: bar.request(current).flags, resumeToken: from }, each),
      message: take,
      state: (state, error) => {
        live.set(state, error);
        if (state === "failed" && isSignedOut(error)) signedOut();
      },
      restart: async () => {
        const begin = await head(own);
        await page(own);
        return begin.token;
      },
      token,
      signal: own,
    });
  }

  function take(message) {
    if (message.event) {
      rows.change(message.event);
      for (const since of asked) since.set(message.event.jobId, message.event);
    }
    if (message.snapshot || message.left || (message.event && !trail.length && moves(message.event))) again();
  }

  /** Whether an event may bring a job onto the first page, or another place on it. */
  function moves({ jobId, event }) {
    if (QUIET.some((kind) => kind in event)) return false;
    if (!rows.has(jobId) && ("jobCreated" in event || current.get("state"))) return true;
    return Boolean(current.get("sort")?.startsWith("expires"));
  }

  function again() {
    const wait_ms = Math.max(SOON_MS, last + AT_MOST_EVERY_MS - performance.now());
    soon ||= setTimeout(async () => {
      soon = 0;
      last = performance.now();
      const own = AbortSignal.any([signal, running.signal]);
      try {
        await page(own);
      } catch (error) {
        if (own.aborted) return;
        if (isSignedOut(error)) signedOut();
        else again();
      }
    }, wait_ms);
  }

  function changed(other) {
    current = other;
    trail = [];
    bar.take(other);
    load();
  }

  signal.addEventListener("abort", () => clearTimeout(soon));
  load();
  return { title: "Jobs", element, changed };
}
