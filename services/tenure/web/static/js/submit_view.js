// Submitting a job: a form for what is usual, JSON for everything. Both show the same specification: what the form does
// not know stays as it is.

import { Refused, createJobs, retrieveJob } from "./api.js";
import { fill, h, refill } from "./dom.js";
import { sameRequest } from "./job_actions.js";
import { isSignedOut } from "./live.js";
import { loading, problems, say } from "./parts.js";
import { pruned } from "./specification.js";
import { specificationForm } from "./submit_form.js";
import { tabs } from "./tabs.js";
import { Unreadable } from "./unreadable.js";

export function submitView({ query, signal, signedOut }) {
  const place = h("section", { class: "submit" }, h("h1", null, "New job"), loading());
  const requests = sameRequest();

  async function begin() {
    let specification = {};
    let trouble = null;
    const from = query.get("from");
    try {
      if (from) specification = pruned((await retrieveJob(from)).job.specification ?? {});
    } catch (error) {
      if (isSignedOut(error)) return signedOut();
      trouble = error;
    }
    if (!signal.aborted) show(specification, trouble);
  }

  function show(specification, trouble) {
    const form = specificationForm(specification, !query.get("from"));
    const text = h("textarea", { class: "json", rows: 24, spellcheck: "false", autocomplete: "off", "aria-label": "Specification as JSON" });
    const said = h("div", { role: "status" }, problems(trouble));
    const parts = tabs("How to write it", { form: ["Form", form.element], json: ["JSON", h("div", null, text, h("p", { class: "hint" }, "A job specification in proto3 JSON, as RetrieveJob shows it."))] }, turn);
    const check = h("button", { type: "button", onclick: () => send(true) }, "Check only");
    const submit = h("button", { type: "submit", class: "primary" }, "Submit");
    const whole = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); send(false); } },
      parts.element, said, h("div", { class: "actions start" }, submit, check));

    // Turning to the other side takes over what this one says, or stays when it says nothing usable.
    function turn(to) {
      fill(said);
      try {
        if (to === "json") text.value = JSON.stringify(form.read(), null, 2);
        else form.write(parsed(text.value));
        return true;
      } catch (error) {
        complain(error);
        return false;
      }
    }

    async function send(validate_only) {
      fill(said);
      form.mark([]);
      submit.disabled = check.disabled = true;
      try {
        const items = [{ specification: parts.chosen() === "json" ? parsed(text.value) : form.read() }];
        if (validate_only) {
          await createJobs({ items, validateOnly: true });
          fill(said, h("p", { class: "notice good" }, "The server would take this job."));
        } else {
          const answer = await createJobs({ items, requestId: requests(items) });
          say("Submitted");
          location.hash = `#/jobs/${encodeURIComponent(answer.responses[0].id)}`;
        }
      } catch (error) {
        if (isSignedOut(error)) return signedOut();
        complain(error);
      } finally {
        submit.disabled = check.disabled = false;
      }
    }

    function complain(error) {
      fill(said, error instanceof Unreadable ? h("p", { class: "notice bad", role: "alert" }, error.message) : problems(error));
      if (error instanceof Refused) form.mark(error.violations);
      if (error instanceof Unreadable) error.control?.focus();
    }

    refill(place, h("h1", null, query.get("from") ? "Run again" : "New job"), whole);
  }

  begin();
  return { title: "New job", element: place };
}

function parsed(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Unreadable(`This is no JSON: ${error.message}`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Unreadable("The specification must be an object.");
  return value;
}
