// JSON as people like to read it. Built from text nodes: a specification may hold anything.

import { h } from "./dom.js";
import { copyButton } from "./parts.js";

/** A specification, pretty-printed, with fields that say nothing left out. */
export function specificationPart(specification) {
  const told = pruned(specification ?? {});
  const text = JSON.stringify(told, null, 2);
  return h(
    "div",
    { class: "code" },
    copyButton(text, "the specification"),
    h("pre", { tabindex: "0", "aria-label": "Specification as JSON" }, h("code", null, pretty(told, ""))),
  );
}

// What the caller's own words are in is never cut; the others are told apart from defaults by being there at all.
const WHOLE = new Set(["parameters", "environment", "labels", "allowDuplicateJob", "replicas"]);

/** Without what the server fills in for fields that were not set: what is left is what was asked for. */
export function pruned(value) {
  if (Array.isArray(value)) return value.map(pruned);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, each]) => [name, WHOLE.has(name) ? each : pruned(each)]);
  return Object.fromEntries(entries.filter(([name, each]) => !says_nothing(each) || name === "allowDuplicateJob"));
}

function says_nothing(value) {
  if (value === "" || value === 0 || value === false || value === null) return true;
  if (typeof value === "string") return value.endsWith("_UNSPECIFIED");
  return typeof value === "object" && Object.keys(value).length === 0;
}

function pretty(value, indent) {
  if (Array.isArray(value)) return block("[", value.map((each) => [pretty(each, `${indent}  `)]), "]", indent);
  if (value !== null && typeof value === "object") {
    const lines = Object.entries(value).map(([name, each]) => [coloured("key", name), ": ", pretty(each, `${indent}  `)]);
    return block("{", lines, "}", indent);
  }
  return coloured(typeof value, value);
}

function block(open, lines, close, indent) {
  if (!lines.length) return [open, close];
  const inner = lines.map((line, index) => [`${indent}  `, line, index < lines.length - 1 ? ",\n" : "\n"]);
  return [`${open}\n`, inner, indent, close];
}

function coloured(kind, value) {
  return h("span", { class: `json-${kind}` }, JSON.stringify(value));
}
