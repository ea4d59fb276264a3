// The form of a specification. It reads and writes the fields it knows and leaves all others alone.

import { browseQueues } from "./api.js";
import { freshId, h, setText } from "./dom.js";
import { durationText, parseSpan, span, spanOf } from "./format.js";
import { field } from "./parts.js";
import { pairs, shellWords } from "./shell_words.js";
import { Unreadable } from "./unreadable.js";
import { commandLine } from "./words.js";

const SPAN = "As in 90s, 1h30m, 2d.";

export function specificationForm(first, focused) {
  let rest = first;
  const queues = h("datalist", { id: freshId("queues") });
  const plain = { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
  const words = h("p", { class: "words", "aria-live": "polite" });
  const c = {
    command: h("input", { ...plain, class: "mono", placeholder: "python3 main.py --steps 100", oninput: showWords, "data-focus": focused }),
    name: h("input", { ...plain, maxlength: 256 }),
    queue: h("input", { ...plain, list: queues.id, placeholder: "default" }),
    time: h("input", { ...plain, placeholder: "1h30m" }),
    environment: h("textarea", { rows: 3, class: "mono", spellcheck: "false", placeholder: "NAME=value" }),
    labels: h("textarea", { rows: 3, class: "mono", spellcheck: "false", placeholder: "name=value" }),
    heartbeat: h("input", { ...plain, placeholder: "30s" }),
    grace: h("input", { ...plain, placeholder: "30s" }),
    failures: h("input", { type: "number", min: 1, max: 1000, placeholder: "3" }),
    priority: h("input", { type: "number", step: 1, placeholder: "0" }),
  };
  // Which control a field of the specification stands in.
  const places = { command: c.command, arguments: c.command, name: c.name, queue: c.queue, timeAllocation: c.time,
    environment: c.environment, labels: c.labels, heartbeatInterval: c.heartbeat, terminationGracePeriod: c.grace,
    maxFailures: c.failures, priority: c.priority };
  const more = h(
    "details",
    null,
    h("summary", null, "More"),
    h("div", { class: "grid" },
      field("Heartbeat interval", c.heartbeat, "How often its worker says that it is alive."),
      field("Grace before its end", c.grace, "Time to save its work when it is stopped."),
      field("Failures that end it", c.failures),
      field("Priority", c.priority, "Higher goes first.")),
  );
  const element = h(
    "div",
    { class: "form" },
    field("Command line", c.command, "A program and its arguments; quotes group words. No shell reads it."),
    words,
    h("div", { class: "grid" }, field("Name", c.name), field("Queue", c.queue), queues, field("Time allocation", c.time, `How long it may hold its machine. ${SPAN}`)),
    h("div", { class: "grid two" }, field("Environment", c.environment, "One NAME=value a line."), field("Labels", c.labels, "One name=value a line.")),
    more,
  );

  function showWords() {
    const cut = shellWords(c.command.value);
    if (cut.problem) setText(words, cut.problem);
    else words.replaceChildren(...cut.words.map((each, index) => h("span", { class: "word", title: index ? `argument ${index}` : "program" }, each === "" ? "''" : each)));
  }

  function write(specification) {
    rest = specification;
    c.command.value = commandLine(rest);
    c.name.value = rest.name ?? "";
    c.queue.value = rest.queue ?? "";
    c.time.value = short(rest.timeAllocation);
    c.environment.value = lines(rest.environment);
    c.labels.value = lines(rest.labels);
    c.heartbeat.value = short(rest.heartbeatInterval);
    c.grace.value = short(rest.terminationGracePeriod);
    c.failures.value = rest.maxFailures ?? "";
    c.priority.value = rest.priority ?? "";
    more.open = [c.heartbeat, c.grace, c.failures, c.priority].some(({ value }) => value !== "" && value !== "0");
    showWords();
  }

  function read() {
    const cut = shellWords(c.command.value);
    if (cut.problem) throw new Unreadable(cut.problem, c.command);
    const specification = { ...rest };
    put(specification, "command", cut.words[0]);
    put(specification, "arguments", cut.words.slice(1));
    put(specification, "name", c.name.value.trim());
    put(specification, "queue", c.queue.value.trim());
    put(specification, "timeAllocation", long(c.time));
    put(specification, "environment", listed(c.environment));
    put(specification, "labels", listed(c.labels));
    put(specification, "heartbeatInterval", long(c.heartbeat));
    put(specification, "terminationGracePeriod", long(c.grace));
    put(specification, "maxFailures", whole(c.failures));
    put(specification, "priority", whole(c.priority));
    return specification;
  }

  function mark(violations) {
    for (const control of Object.values(c)) control.removeAttribute("aria-invalid");
    for (const { field: path } of violations) {
      const name = /^items\[0\]\.specification\.(\w+)/.exec(path)?.[1] ?? "";
      places[camel(name)]?.setAttribute("aria-invalid", "true");
    }
    element.querySelector("[aria-invalid]")?.focus();
  }

  write(first);
  browseQueues({ pageSize: 1000 })
    .then((answer) => queues.append(...(answer.queues ?? []).map(({ specification }) => h("option", { value: specification.name }))))
    .catch(() => {}); // The names are only a help with typing.
  return { element, read, write, mark };
}

function put(specification, name, value) {
  if (value === undefined || value === "" || (typeof value === "object" && !Object.keys(value).length)) delete specification[name];
  else specification[name] = value;
}

function long(control) {
  if (!control.value.trim()) return undefined;
  const ms = parseSpan(control.value);
  if (ms === null) throw new Unreadable(`“${control.value}” is no span of time. ${SPAN}`, control);
  return durationText(ms);
}

/** A proto3 duration as one types it; nothing is rounded away. */
function short(duration) {
  const ms = spanOf(duration);
  if (ms === null) return "";
  const parts = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000]];
  let left = ms;
  const found = parts.map(([unit, size]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return count ? `${count}${unit}` : "";
  });
  return left ? `${ms / 1000}s` : found.join("") || span(ms);
}

function listed(control) {
  const found = pairs(control.value);
  if (found.problem) throw new Unreadable(found.problem, control);
  return found.pairs;
}

function lines(map) {
  return Object.entries(map ?? {}).map(([name, value]) => `${name}=${value}`).sort().join("\n");
}

function whole(control) {
  if (control.value === "" && !control.validity.badInput) return undefined;
  const number = Number(control.value);
  if (control.validity.badInput || !Number.isInteger(number)) throw new Unreadable("Write a whole number.", control);
  return number;
}

function camel(name) {
  return name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}
