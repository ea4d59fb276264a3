// What the enums of the contract are called on this page, and how a job is named.

const STATES = {
  JOB_STATE_IN_QUEUE: ["queued", "In queue"],
  JOB_STATE_RUNNING: ["running", "Running"],
  JOB_STATE_CANCELING: ["canceling", "Canceling"],
  JOB_STATE_SUCCESS: ["success", "Success"],
  JOB_STATE_FAILURE: ["failure", "Failure"],
  JOB_STATE_EXPIRED: ["expired", "Expired"],
};
const OUTCOMES = {
  JOB_OUTCOME_COMPLETED: ["success", "Completed"],
  JOB_OUTCOME_CANCELLED: ["cancelled", "Cancelled"],
  JOB_OUTCOME_FAILED: ["failure", "Failed"],
  JOB_OUTCOME_LOST: ["failure", "Lost"],
  JOB_OUTCOME_EXPIRED: ["expired", "Expired"],
  JOB_OUTCOME_SYSTEM: ["failure", "Stopped by operator"],
};
const FINAL = new Set(["JOB_STATE_SUCCESS", "JOB_STATE_FAILURE", "JOB_STATE_EXPIRED"]);

/** The states that a list can be filtered by: value → label. */
export const FILTER_STATES = Object.fromEntries(Object.entries(STATES).map(([value, [, label]]) => [value, label]));

/** Key for colours and label of a state, as in updates. */
export function stateWord(state) {
  return STATES[state] ?? ["unknown", word(state, "JOB_STATE_")];
}

/** Key and label of a job's status: how it ended, where it has. */
export function statusWord(status) {
  return OUTCOMES[status?.outcome] ?? stateWord(status?.state ?? "");
}

export function isFinal(status) {
  return FINAL.has(status?.state);
}

/** `ATTEMPT_STAGE_SYNC_BEFORE` → `sync before`; empty for unset and unspecified. */
export function word(value, prefix) {
  if (!value || value === `${prefix}UNSPECIFIED`) return "";
  return String(value).replace(prefix, "").toLowerCase().replaceAll("_", " ");
}

/** What a person calls a job. */
export function titleOf(specification, fallback = "") {
  const application = specification?.application?.name;
  return specification?.name || application || commandLine(specification) || fallback;
}

/** The command as one would type it. */
export function commandLine(specification) {
  if (!specification?.command) return "";
  return [specification.command, ...(specification.arguments ?? [])].map(quoted).join(" ");
}

function quoted(argument) {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'"'"'`)}'`;
}

export function productOf(product) {
  return product ? `${product.provider}/${product.category}/${product.id}` : "";
}

/** The queue, as far as is known: the product names it otherwise. */
export function queueOf(job) {
  const asked = job.specification ?? {};
  return asked.queue || job.status?.resolvedProduct?.queue || productOf(asked.product) || "default";
}

export function labelsOf(labels) {
  return Object.entries(labels ?? {}).map(([key, value]) => (value ? `${key}=${value}` : key)).sort();
}

/** `exit code 1`, `signal 9, out of memory`; empty: the command did not end by itself. */
export function exitOf(ended) {
  if (ended.signal) return `signal ${ended.signal}${ended.oom ? ", out of memory" : ""}`;
  return ended.exitCode === undefined || ended.exitCode === null ? "" : `exit code ${ended.exitCode}`;
}
