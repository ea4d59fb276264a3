// Questions in front of the page. The browser's own modal dialog keeps the focus in, gives it back, and ends with
// Escape; this adds the form, its buttons and the refusal of what was asked.

import { fill, freshId, h } from "./dom.js";
import { problems } from "./parts.js";

/**
 * Asks, and resolves with what `confirm` gave; null: it was put off.
 *
 * @param {object} what
 * @param {string} what.title
 * @param {Node[]} what.body
 * @param {string} what.action text of the button that does it
 * @param {boolean=} what.danger it cannot be taken back
 * @param {() => Promise<any>} what.confirm does it; what it throws is shown, and the dialog stays
 * @param {(form: {action: HTMLButtonElement}) => void=} what.ready called when it is there
 */
export function ask({ title, body, action, danger = false, confirm, ready }) {
  const heading = freshId("dialog");
  const trouble = h("div");
  const button = h("button", { type: "submit", class: danger ? "danger" : "primary" }, action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h(
    "form",
    { method: "dialog", onsubmit: submit },
    h("h2", { id: heading }, title),
    body,
    trouble,
    h("div", { class: "actions" }, cancel, button),
  );
  const dialog = h("dialog", { "aria-labelledby": heading }, form);
  let result = null;

  async function submit(event) {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    fill(trouble);
    try {
      result = await confirm();
      dialog.close();
    } catch (error) {
      fill(trouble, problems(error));
      button.disabled = false;
      button.focus();
    }
  }

  const leave = () => dialog.close();
  document.body.append(dialog);
  dialog.showModal();
  ready?.({ action: button });
  addEventListener("hashchange", leave); // The way back leads away from the question too.
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      removeEventListener("hashchange", leave);
      dialog.remove();
      resolve(result);
    });
  });
}
