// Tenure's services for Node, loaded from the protos themselves: no generated code.
//
// 64-bit numbers are strings and enums their names, so that nothing is rounded and nothing has to be looked up.
"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const OPTIONS = { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true };
// Both sides see a dead peer within about 15 s.
const CHANNEL = { "grpc.keepalive_time_ms": 10000, "grpc.keepalive_timeout_ms": 5000 };

/** Loads the protos; `root` is the checkout. */
function load(root) {
  const includeDirs = [path.join(root, "protos"), path.join(root, "third_party", "protos")];
  const files = ["tenure/v1/job_service.proto", "tenure/v1/worker_service.proto", "tenure/v1/event_service.proto"];
  const services = grpc.loadPackageDefinition(loader.loadSync(files, { ...OPTIONS, includeDirs }));
  const status = loader.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"], {
    ...OPTIONS,
    includeDirs,
  });
  return { services: services.tenure.v1, status };
}

/** A client of one server with one token. */
class Tenure {
  constructor(root, address, token) {
    const { services, status } = load(root);
    const credentials = grpc.credentials.createInsecure();
    this.metadata = new grpc.Metadata();
    this.metadata.set("authorization", `Bearer ${token}`);
    this.jobs = new services.JobService(address, credentials, CHANNEL);
    this.workers = new services.WorkerService(address, credentials, CHANNEL);
    this.events = new services.EventService(address, credentials, CHANNEL);
    this.status = status;
  }

  /** One call; rejects with the gRPC code, the server's sentence, and its reason as in JOB_FINAL. */
  call(service, method, request) {
    const deadline = Date.now() + 30000;
    return new Promise((resolve, reject) => {
      service[method](request, this.metadata, { deadline }, (error, response) => {
        if (error) reject(this.refusal(error));
        else resolve(response);
      });
    });
  }

  /** The reason and metadata of a refusal: google.rpc.ErrorInfo in the trailer of every error. */
  refusal(error) {
    const refused = { code: grpc.status[error.code], message: error.details, reason: "", metadata: {} };
    const [raw] = error.metadata ? error.metadata.get("grpc-status-details-bin") : [];
    if (raw) {
      // The loader knows google.protobuf.Any by itself, with the names of the proto.
      for (const any of this.status["google.rpc.Status"].deserialize(raw).details) {
        if (any.type_url.endsWith("/google.rpc.ErrorInfo")) {
          const info = this.status["google.rpc.ErrorInfo"].deserialize(any.value);
          Object.assign(refused, { reason: info.reason, domain: info.domain, metadata: info.metadata });
        }
      }
    }
    return refused;
  }

  /** A worker's stream: `send` a ConnectRequest, `next` waits for a response that has this field. */
  connect() {
    const stream = this.workers.Connect(this.metadata);
    const arrived = [];
    const waiting = [];
    let ended = null;
    const look = () => {
      for (const [index, one] of waiting.entries()) {
        const at = arrived.findIndex((response) => response.message === one.field);
        if (at >= 0) {
          waiting.splice(index, 1);
          return one.resolve(arrived.splice(at, 1)[0][one.field]);
        }
        if (ended) {
          waiting.splice(index, 1);
          return one.reject(ended);
        }
      }
    };
    stream.on("data", (response) => {
      arrived.push(response);
      look();
    });
    stream.on("error", (error) => {
      ended = this.refusal(error);
      look();
    });
    const over = new Promise((resolve) => stream.on("status", (status) => resolve(grpc.status[status.code])));
    return {
      send: (request) => stream.write(request),
      next: (field) => new Promise((resolve, reject) => look(waiting.push({ field, resolve, reject }))),
      end: async () => {
        stream.end();
        return over;
      },
    };
  }

  close() {
    for (const service of [this.jobs, this.workers, this.events]) service.close();
  }
}

/** A duration of so many seconds; a timestamp in milliseconds. */
const seconds = (count) => ({ seconds: String(count), nanos: 0 });
const millis = (timestamp) => Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6);

module.exports = { Tenure, seconds, millis };
