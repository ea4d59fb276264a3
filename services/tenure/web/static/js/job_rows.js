// The rows of the list of jobs. A row stays the same element for as long as its job is on the page, so that the focus
// and the place one reads stay where they are while it changes.

import { fill, h } from "./dom.js";
import { ago, instantOf } from "./format.js";
import { jobLink, pill, shortId, table } from "./parts.js";
import { commandLine, isFinal, labelsOf, queueOf, titleOf } from "./words.js";

export function jobRows({ sort }) {
  const body = h("tbody", { onkeydown: move });
  const heads = {
    created: sortHead("Created", { "": "descending", oldest: "ascending" }, sort),
    expires: sortHead("Time left", { expires: "ascending", "expires-last": "descending" }, sort),
  };
  const columns = ["State", "Job", { label: "Queue", class: "wide" }, { label: "Worker", class: "wide" },
    { label: "Progress", class: "wide" }, { label: "Owner", class: "widest" }, heads.created.element, heads.expires.element];
  const element = table("Jobs", columns, body, { class: "jobs" });
  const rows = new Map(); // id → {job, element, cells}
  let looked_for = "";

  function show(jobs, sorted) {
    for (const each of Object.values(heads)) each.mark(sorted);
    const order = jobs.map((job) => {
      const row = rows.get(job.id) ?? made(job);
      row.job = job;
      draw(row);
      return row;
    });
    rows.clear();
    for (const row of order) rows.set(row.job.id, row);
    const elements = order.map((row) => row.element);
    if (elements.length !== body.children.length || elements.some((each, index) => each !== body.children[index])) arrange(elements);
    find(looked_for);
  }

  // Moves only what has to move: taking an element out, even for a moment, loses its focus.
  function arrange(elements) {
    const wanted = new Set(elements);
    for (const each of [...body.children]) if (!wanted.has(each)) each.remove();
    elements.forEach((each, index) => {
      if (body.children[index] !== each) body.insertBefore(each, body.children[index] ?? null);
    });
  }

  function change({ jobId, status, event }) {
    const row = rows.get(jobId);
    const version = Number(event.streamVersion);
    if (!row || version <= Number(row.job.version)) return; // Not here, or the page is younger than the watch.
    row.job = { ...row.job, version, status: { ...status, resolvedProduct: row.job.status?.resolvedProduct } };
    draw(row);
  }

  function find(text) {
    looked_for = text.trim().toLowerCase();
    for (const row of rows.values()) row.element.hidden = !row.text.includes(looked_for);
  }

  function told() {
    const shown = [...rows.values()].filter((row) => !row.element.hidden).length;
    const all = `${rows.size} ${rows.size === 1 ? "job" : "jobs"}`;
    return looked_for ? `${shown} of ${all}` : all;
  }

  // Arrow keys go from job to job.
  function move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = [...body.querySelectorAll("tr:not([hidden]) a.title")];
    const next = links[links.indexOf(document.activeElement) + step];
    if (!next || !links.includes(document.activeElement)) return;
    event.preventDefault();
    next.focus();
  }

  return { element, show, change, find, told, count: () => rows.size, has: (id) => rows.has(id) };
}

function made(job) {
  const cell = (name) => h("td", { class: name });
  const cells = { state: cell("tight"), job: cell("job"), queue: cell("wide"), worker: cell("wide"), progress: cell("wide"),
    owner: cell("widest"), created: cell("tight when"), left: cell("tight when") };
  const asked = job.specification;
  const title = titleOf(asked, job.id);
  const command = commandLine(asked);
  const link = jobLink(job.id, title);
  link.className = "title";
  const labels = labelsOf(asked?.labels);
  fill(
    cells.job,
    link,
    h("span", { class: "sub" }, shortId(job.id), command && command !== title ? h("span", { class: "mono cut", title: command }, command) : null,
      labels.slice(0, 4).map((label) => h("span", { class: "label", title: label }, label)),
      labels.length > 4 ? h("span", { class: "label" }, `+${labels.length - 4}`) : null),
  );
  fill(cells.queue, queueOf(job));
  fill(cells.owner, [job.owner?.createdBy, job.owner?.project].filter(Boolean).join(" · "));
  fill(cells.created, ago(instantOf(job.createdAt)));
  const text = [title, command, job.id, ...labels, queueOf(job), job.owner?.createdBy].join("\n").toLowerCase();
  return { job, cells, text, drawn: {}, element: h("tr", null, Object.values(cells)) };
}

function draw(row) {
  const { status } = row.job;
  put(row, "state", [status.state, status.outcome, status.reason], () => pill(status));
  put(row, "worker", [status.machineId, status.attempt, status.numFailures], () => worker(status));
  put(row, "progress", [status.progress?.fraction, status.progress?.message], () => progress(status.progress));
  const left = isFinal(status) ? null : instantOf(status.expiresAt);
  put(row, "left", [left], () => ago(left));
}

// Draws a cell only when what it shows has changed.
function put(row, name, values, content) {
  const drawn = JSON.stringify(values);
  if (row.drawn[name] === drawn) return;
  row.drawn[name] = drawn;
  fill(row.cells[name], content());
}

function worker(status) {
  if (!status.machineId) return null;
  const tries = [status.attempt > 1 ? `#${status.attempt}` : "", status.numFailures ? `${status.numFailures} failed` : ""];
  const more = tries.filter(Boolean).join(" · ");
  return [h("span", { class: "cut", title: status.machineId }, status.machineId), more ? h("span", { class: "sub" }, more) : null];
}

export function progress(value) {
  if (!value || (!value.fraction && !value.message)) return null;
  const percent = Math.round((value.fraction ?? 0) * 100);
  return h("span", { class: "progress" }, h("progress", { value: value.fraction ?? 0, max: 1, "aria-label": "Progress" }),
    h("span", null, `${percent} %`), value.message ? h("span", { class: "cut sub-text", title: value.message }, value.message) : null);
}

// A column head that sorts: a press takes the first order, another press the other.
function sortHead(label, orders, sort) {
  const values = Object.keys(orders);
  const button = h("button", { type: "button", class: "sort", onclick: () => sort(sorted === values[0] ? values[1] : values[0]) }, label);
  const element = h("th", { scope: "col" }, button);
  let sorted = "";
  return {
    element,
    mark(value) {
      sorted = value;
      if (value in orders) element.setAttribute("aria-sort", orders[value]);
      else element.removeAttribute("aria-sort");
    },
  };
}
