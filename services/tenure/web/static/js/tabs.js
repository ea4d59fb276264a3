// Two or more sides of the same thing, one shown. Arrow keys go from tab to tab, as the ARIA practices have it.

import { freshId, h } from "./dom.js";

/**
 * @param {string} name for those who do not see it
 * @param {Record<string, [string, Node]>} sides key → label and content, the first one is shown
 * @param {(key: string) => boolean} turn called before another side is shown; false: it stays
 */
export function tabs(name, sides, turn) {
  const keys = Object.keys(sides);
  let chosen = keys[0];
  const ids = Object.fromEntries(keys.map((key) => [key, freshId("tab")]));
  const heads = keys.map((key) =>
    h("button", { type: "button", role: "tab", id: ids[key], "aria-controls": `${ids[key]}-panel`, onclick: () => choose(key) }, sides[key][0]),
  );
  const panels = keys.map((key) => h("div", { role: "tabpanel", id: `${ids[key]}-panel`, "aria-labelledby": ids[key] }, sides[key][1]));
  const element = h("div", { class: "tabs" }, h("div", { role: "tablist", "aria-label": name, onkeydown: move }, heads), panels);

  function choose(key) {
    if (key !== chosen && !turn(key)) return;
    chosen = key;
    show();
    heads[keys.indexOf(key)].focus();
  }

  function show() {
    keys.forEach((key, index) => {
      heads[index].setAttribute("aria-selected", String(key === chosen));
      heads[index].tabIndex = key === chosen ? 0 : -1;
      panels[index].hidden = key !== chosen;
    });
  }

  function move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(keys[(keys.indexOf(chosen) + step + keys.length) % keys.length]);
  }

  show();
  return { element, chosen: () => chosen };
}
