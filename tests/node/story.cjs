// A job's life, told from both sides: its owner's and its worker's. Prints one line of JSON for each thing it saw.
//
//     node story.cjs ADDRESS        with the tokens in TENURE_USER_TOKEN and TENURE_WORKER_TOKEN
"use strict";

const path = require("node:path");
const { Tenure, seconds, millis } = require("./tenure.cjs");

const root = path.resolve(process.env.TENURE_ROOT || path.join(__dirname, "..", ".."));
const address = process.argv[2];
const tell = (what, seen) => console.log(JSON.stringify({ what, ...seen }));
const EXAMPLE = {
  application: { name: "acme-web-application", version: "1.0.0" },
  product: { id: "example-compute", category: "example-compute", provider: "example" },
  replicas: 1,
  timeAllocation: seconds(5 * 3600),
};

async function main() {
  const user = new Tenure(root, address, process.env.TENURE_USER_TOKEN);
  const machine = new Tenure(root, address, process.env.TENURE_WORKER_TOKEN);
  const retrieve = async (id) => (await user.call(user.jobs, "RetrieveJob", { id })).job;

  const created = await user.call(user.jobs, "CreateJobs", {
    items: [{ specification: EXAMPLE }],
    requestId: "node-1",
  });
  const again = await user.call(user.jobs, "CreateJobs", { items: [{ specification: EXAMPLE }], requestId: "node-1" });
  const { id } = created.responses[0];
  const queued = await retrieve(id);
  tell("created", {
    id,
    again: again.responses[0].id,
    state: queued.status.state,
    allocation: queued.specification.timeAllocation.seconds,
    expires: millis(queued.status.expiresAt) - millis(queued.createdAt),
    updates: queued.updates.map((update) => update.status),
  });

  const stream = machine.connect();
  stream.send({
    hello: { workerId: "node-1", incarnation: "1", protocolVersion: 1, queues: ["default"], slots: 1 },
  });
  const welcome = await stream.next("welcome");
  const [assignment] = (await stream.next("assignments")).items;
  const lease = assignment.leaseId;
  tell("assigned", {
    session: welcome.sessionId !== "",
    job: assignment.jobId,
    attempt: assignment.attempt,
    command: assignment.command,
    lease: assignment.lease.seconds,
  });
  stream.send({ accept: { leaseIds: [lease] } });
  tell("accepted", { state: (await stream.next("acceptAck")).items[0].state });
  stream.send({ report: { items: [{ leaseId: lease, started: {} }] } });
  tell("started", { state: (await stream.next("reportAck")).items[0].state });
  stream.send({ heartbeat: { beats: [{ leaseId: lease, count: "1", stage: "ATTEMPT_STAGE_RUN" }] } });
  const beat = (await stream.next("heartbeatAck")).items[0];
  const running = await retrieve(id);
  tell("running", {
    beat: beat.state,
    state: running.status.state,
    machine: running.status.machineId,
    beats: running.status.numHeartbeats,
  });

  const extended = await user.call(user.jobs, "ExtendJobs", { items: [{ jobId: id, requestedTime: seconds(3600) }] });
  const moved = (await stream.next("deadlineChanged")).items[0];
  const answered = extended.responses[0].expiresAt;
  tell("extended", { by: millis(answered) - millis(running.status.expiresAt), told: millis(moved.expiresAt) === millis(answered) });

  await user.call(user.jobs, "TerminateJobs", { items: [{ id }] });
  const stop = (await stream.next("stop")).items[0];
  stream.send({ report: { items: [{ leaseId: lease, stopped: {} }] } });
  const stopped = (await stream.next("reportAck")).items[0];
  const ended = await retrieve(id);
  tell("terminated", {
    stop: stop.reason,
    report: stopped.kind,
    state: ended.status.state,
    outcome: ended.status.outcome,
    expires: ended.status.expiresAt,
    updates: ended.updates.map((update) => update.status),
  });

  const late = { items: [{ jobId: id, requestedTime: seconds(60) }] };
  tell("refused", await user.call(user.jobs, "ExtendJobs", late).then(() => ({ reason: "none" }), (refused) => refused));

  const second = await user.call(user.jobs, "CreateJobs", {
    items: [{ specification: { command: "true", timeAllocation: seconds(60) } }],
  });
  const [next] = (await stream.next("assignments")).items;
  stream.send({ accept: { leaseIds: [next.leaseId] } });
  await stream.next("acceptAck");
  stream.send({ report: { items: [{ leaseId: next.leaseId, started: {} }] } });
  await stream.next("reportAck");
  stream.send({ report: { items: [{ leaseId: next.leaseId, succeeded: {} }] } });
  const succeeded = (await stream.next("reportAck")).items[0];
  tell("completed", {
    same: next.jobId === second.responses[0].id,
    state: succeeded.state,
    outcome: (await retrieve(next.jobId)).status.outcome,
  });
  stream.send({ goodbye: {} });
  tell("goodbye", { status: await stream.end() });
  user.close();
  machine.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
