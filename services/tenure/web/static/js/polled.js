// A view over a list that the server has no stream for: asked for every few seconds while somebody looks.

import { fill, h } from "./dom.js";
import { isSignedOut, repeat } from "./live.js";
import { failure, liveMark, loading } from "./parts.js";

const EVERY_MS = 3000;

/**
 * @param {object} context of the view
 * @param {string} title
 * @param {() => Promise<object[]>} read
 * @param {(items: object[]) => Node} draw
 */
export function polledView({ signal, signedOut }, title, read, draw) {
  const live = liveMark();
  const place = h("div", null, loading());
  const element = h("section", null, h("div", { class: "head" }, h("h1", null, title), live.element), place);
  let drawn = "";

  async function look() {
    try {
      const items = await read();
      if (signal.aborted) return;
      live.set("live");
      const now = JSON.stringify(items);
      if (now === drawn) return;
      drawn = now;
      show(draw(items, look));
    } catch (error) {
      if (signal.aborted) return;
      if (isSignedOut(error)) return signedOut();
      live.set(drawn ? "waiting" : "failed", error);
      if (!drawn) fill(place, failure(error, look));
    }
  }

  // What has the focus has it again after drawing, and a table stays where it was scrolled to.
  function show(content) {
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key ?? document.activeElement.getAttribute("href") : null;
    const left = place.querySelector(".frame")?.scrollLeft ?? 0;
    fill(place, content);
    const frame = place.querySelector(".frame");
    if (frame) frame.scrollLeft = left;
    if (focused) [...place.querySelectorAll("a, button")].find((each) => (each.dataset.key ?? each.getAttribute("href")) === focused)?.focus();
  }

  repeat(look, EVERY_MS, signal);
  return { title, element };
}

/** All pages of a list, up to so many. */
export async function everything(browse, name, most = 5000) {
  const found = [];
  let pageToken = "";
  do {
    const answer = await browse({ pageSize: 1000, pageToken });
    found.push(...(answer[name] ?? []));
    pageToken = answer.nextPageToken;
  } while (pageToken && found.length < most);
  return found;
}
