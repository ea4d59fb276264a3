// Elements by hand. Everything that is shown goes through text nodes: nothing of a job is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";
const AS_PROPERTY = new Set(["value", "checked", "disabled", "hidden", "open", "selected"]);

/**
 * Makes an element. Properties: functions named `on…` are listeners, null and false are left out, true is an empty
 * attribute. Children: nodes, strings, numbers, lists of them; null and false are left out.
 */
export function h(tag, properties, ...children) {
  return made(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties, ...children) {
  return made(document.createElementNS(SVG, tag), properties, children);
}

/** Puts other children into an element. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** The same for a part that begins with a heading: a focus that was in it goes to the new heading. */
export function refill(element, ...children) {
  const had = element.contains(document.activeElement);
  fill(element, children);
  if (had) focusHeading(element);
}

/** Puts the focus on the control that is marked for it, else on the heading, so that what is new is read out. */
export function focusHeading(element) {
  const first = element.querySelector("[data-focus]") ?? element.querySelector("h1");
  if (first?.tagName === "H1") first.tabIndex = -1;
  first?.focus({ preventScroll: true });
}

/** Sets a text, and touches nothing when it is there already: what is selected or focused stays so. */
export function setText(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== String(wanted)) element.textContent = wanted;
}

let made_ids = 0;

/** An id that no other element has. */
export function freshId(prefix) {
  made_ids += 1;
  return `${prefix}-${made_ids}`;
}

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (AS_PROPERTY.has(name) && name in element) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}
