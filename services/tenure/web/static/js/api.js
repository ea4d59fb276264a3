// Every address of the server that this page uses, and what comes back, refusals included. Nobody else calls fetch.

import { learn } from "./clock.js";

const SESSION = "/session";
const JOBS = "/v1/jobs";
const QUEUES = "/v1/queues";
const WORKERS = "/v1/workers";
const EVENTS = "/v1/events";
const PATIENCE_MS = 20_000;

const GRPC_CODES = { 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 501: 12, 503: 14 };
export const UNAUTHENTICATED = 16;
export const PERMISSION_DENIED = 7;
export const UNIMPLEMENTED = 12;
export const OUT_OF_REACH = -1;

/** A call that was refused, or that did not get through (`code` is OUT_OF_REACH then). */
export class Refused extends Error {
  /**
   * @param {{code: number, message: string, reason?: string, metadata?: object, violations?: {field: string, description: string}[]}} what
   */
  constructor({ code, message, reason = "", metadata = {}, violations = [] }) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.metadata = metadata;
    this.violations = violations;
  }
}

// --- sessions

/** Exchanges a token for a cookie that scripts cannot read. */
export const signIn = (token) => call("POST", SESSION, { token });
export const signOut = () => call("DELETE", SESSION);

/** What whoever is signed in may do: `{role}`; null: nobody is. */
export async function whoAmI() {
  try {
    return await call("GET", SESSION);
  } catch (error) {
    if (error instanceof Refused && error.code === UNAUTHENTICATED) return null;
    throw error;
  }
}

// --- jobs

export const browseJobs = (request) => call("GET", JOBS + query(request));
export const retrieveJob = (id, flags = {}) => call("GET", `${JOBS}/${encodeURIComponent(id)}${query({ flags })}`);
export const createJobs = (request) => call("POST", JOBS, request);
export const extendJobs = (request) => call("POST", `${JOBS}:extend`, request);
export const terminateJobs = (request) => call("POST", `${JOBS}:terminate`, request);
export const explainJob = (id) => call("GET", `${JOBS}/${encodeURIComponent(id)}:explain`);
export const watchJobs = (request, signal) => stream(`${JOBS}:watch${query(request)}`, signal);
export const followLogs = (id, request, signal) =>
  stream(`${JOBS}/${encodeURIComponent(id)}/logs${query(request)}`, signal);

// --- what is around them

export const browseQueues = (request = {}) => call("GET", QUEUES + query(request));
export const pauseQueues = (request) => call("POST", `${QUEUES}:pause`, request);
export const browseWorkers = (request = {}) => call("GET", WORKERS + query(request));
export const readEvents = (request, signal) => stream(EVENTS + query(request), signal);

/** An id for a request, so that a repeat of it changes nothing. */
export function requestId() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `web-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// --- how

async function call(method, path, body) {
  const response = await send(method, path, body, AbortSignal.timeout(PATIENCE_MS), "application/json");
  const text = await text_of(response);
  return text ? JSON.parse(text) : {};
}

/**
 * The messages of a stream, one JSON object a line; before them an empty one, as soon as the server has agreed. Ends
 * when the server ends it; throws Refused for a failure in it.
 */
async function* stream(path, signal) {
  const response = await send("GET", path, undefined, signal, "application/x-ndjson");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    yield {};
    for (;;) {
      const { value, done } = await read(reader, signal);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) yield message_of(JSON.parse(line));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function message_of(line) {
  if (line.error) throw refusal(line.error, 0);
  return line;
}

async function read(reader, signal) {
  try {
    return await reader.read();
  } catch (error) {
    throw signal.aborted ? error : out_of_reach();
  }
}

async function send(method, path, body, signal, accept) {
  const headers = { accept };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET") headers["x-tenure-csrf"] = "1"; // No other site's page can send it.
  let response;
  try {
    const init = { method, headers, signal, credentials: "same-origin", cache: "no-store", redirect: "error" };
    response = await fetch(path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw out_of_reach();
  }
  learn(response);
  if (!response.ok) throw await refused(response);
  return response;
}

async function text_of(response) {
  try {
    return await response.text();
  } catch {
    throw out_of_reach();
  }
}

async function refused(response) {
  const text = await text_of(response);
  try {
    return refusal(JSON.parse(text), response.status);
  } catch {
    return refusal({ message: `The server answered ${response.status}.` }, response.status);
  }
}

/** The refusal that a `google.rpc.Status` in JSON says. */
function refusal(status, http_code) {
  const details = status.details ?? [];
  const info = details.find((detail) => detail["@type"]?.endsWith("google.rpc.ErrorInfo")) ?? {};
  const bad = details.find((detail) => detail["@type"]?.endsWith("google.rpc.BadRequest")) ?? {};
  return new Refused({
    code: status.code ?? GRPC_CODES[http_code] ?? 13,
    message: status.message || "The server gave no reason.",
    reason: info.reason,
    metadata: info.metadata,
    violations: bad.fieldViolations,
  });
}

function out_of_reach() {
  return new Refused({ code: OUT_OF_REACH, message: "The server cannot be reached. Is it running?" });
}

/** A request as a query string: the fields of messages and the keys of maps after a dot, lists repeated. */
function query(request) {
  const parameters = new URLSearchParams();
  add(parameters, "", request);
  const text = parameters.toString();
  return text ? `?${text}` : "";
}

function add(parameters, path, value) {
  if (value === undefined || value === null || value === "" || value === false) return;
  if (Array.isArray(value)) value.forEach((each) => parameters.append(path, each));
  else if (typeof value !== "object") parameters.append(path, value);
  else for (const [name, each] of Object.entries(value)) add(parameters, path ? `${path}.${name}` : name, each);
}
