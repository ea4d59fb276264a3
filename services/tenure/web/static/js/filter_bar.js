// What the list of jobs shows: the controls, the part of the address they stand for, and the request they make.

import { browseQueues } from "./api.js";
import { freshId, h } from "./dom.js";
import { choice, field } from "./parts.js";
import { FILTER_STATES } from "./words.js";

const SORTS = {
  "": "Newest first",
  oldest: "Oldest first",
  expires: "Ending soonest",
  "expires-last": "Ending last",
};
const ORDERS = {
  oldest: { sortBy: "JOB_SORT_BY_CREATED_AT", sortDirection: "SORT_DIRECTION_ASCENDING" },
  expires: { sortBy: "JOB_SORT_BY_EXPIRES_AT", sortDirection: "SORT_DIRECTION_ASCENDING" },
  "expires-last": { sortBy: "JOB_SORT_BY_EXPIRES_AT", sortDirection: "SORT_DIRECTION_DESCENDING" },
};
const WAIT_MS = 350;

/**
 * @param {URLSearchParams} query as it is in the address
 * @param {(parameters: object) => void} changed called with what the address should say
 * @param {(text: string) => void} find called as a text is searched for in the page
 */
export function filterBar(query, changed, find) {
  const queues = h("datalist", { id: freshId("queues") });
  const plain = { autocomplete: "off", spellcheck: "false", maxlength: 128 };
  const controls = {
    state: choice({ "": "All", ...FILTER_STATES }, "", { onchange: tell }),
    queue: h("input", { type: "text", list: queues.id, oninput: later, onchange: tell, ...plain, size: 10 }),
    owner: h("input", { type: "text", oninput: later, onchange: tell, ...plain, size: 10 }),
    label: h("input", { type: "text", placeholder: "key=value", oninput: later, onchange: tell, ...plain, maxlength: 400, size: 12 }),
    sort: choice(SORTS, "", { onchange: tell }),
  };
  const search = h("input", { type: "search", placeholder: "name, command, label, id", oninput: look, ...plain });
  const element = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Jobs", onsubmit: submit },
    field("Search this page", search),
    field("State", controls.state),
    field("Queue", controls.queue),
    queues,
    field("Owner", controls.owner),
    field("Label", controls.label),
    field("Sort", controls.sort),
  );
  let timer = 0;

  function take(other) {
    for (const [name, control] of Object.entries(controls)) {
      const value = other.get(name) ?? "";
      if (control.value !== value && control !== document.activeElement) control.value = value;
    }
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(tell, WAIT_MS);
  }

  function tell() {
    clearTimeout(timer);
    const label = controls.label.value.trim();
    const unfinished = label && !/^[^=]+=./.test(label);
    controls.label.setAttribute("aria-invalid", unfinished ? "true" : "false");
    if (unfinished) return;
    changed(Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value.trim()])));
  }

  function look() {
    find(search.value);
  }

  // An id in the search field is an address.
  function submit(event) {
    event.preventDefault();
    const text = search.value.trim();
    if (/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(text)) location.hash = `#/jobs/${text}`;
    else tell();
  }

  take(query);
  browseQueues({ pageSize: 1000 })
    .then((answer) => queues.append(...(answer.queues ?? []).map(({ specification }) => h("option", { value: specification.name }))))
    .catch(() => {}); // The names are only a help with typing.

  return {
    element,
    take,
    request,
    isFiltered: () => ["state", "queue", "owner", "label"].some((name) => controls[name].value),
    sort(value) {
      controls.sort.value = value;
      tell();
    },
  };
}

function request(query) {
  const get = (name) => query.get(name) ?? "";
  const [key, ...value] = get("label").split("=");
  return {
    flags: {
      filterState: get("state"),
      filterQueue: get("queue"),
      filterCreatedBy: get("owner"),
      filterLabels: key ? { [key.trim()]: value.join("=").trim() } : {},
      includeProduct: true,
    },
    ...ORDERS[get("sort")],
  };
}
