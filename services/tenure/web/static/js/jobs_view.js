// The list of jobs: filtered, sorted and paged by the server, kept true by a watch with the same filter.
//
// The watch begins at the end of the log as it was before the page was asked for. An event of a job on the page changes
// its row; a new job, or one that no longer fits the filter, has the page asked for again, soon but not at every event.

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
    const answer = await browseJobs({ ...bar.request(current), pageSize: PAGE_SIZE, pageToken: trail.at(-1) });
    if (own.aborted) return;
    rows.show(answer.jobs ?? [], current.get("sort") ?? "");
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
    const known = message.event && rows.change(message.event);
    if (message.snapshot || message.left || (message.event && !known && !trail.length)) again();
  }

  function again() {
    const own = running.signal;
    soon ||= setTimeout(async () => {
      soon = 0;
      try {
        if (!own.aborted && !signal.aborted) await page(AbortSignal.any([signal, own]));
      } catch (error) {
        if (isSignedOut(error)) signedOut();
        else live.set("waiting", error);
      }
    }, SOON_MS);
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
