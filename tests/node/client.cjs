// The life of two jobs, seen from both sides: a user's calls, and the one stream of a worker.
// Started by test_node_client.py in the root of the tree; prints what it has seen as one line of JSON.
'use strict';

const { once } = require('node:events');
const { bearer, call, grpc, refusal, tenure } = require('./tenure.cjs');

const { TENURE_ADDRESS, TENURE_USER_TOKEN, TENURE_WORKER_TOKEN, TENURE_QUEUE } = process.env;
const jobs = new tenure.v1.JobService(TENURE_ADDRESS, grpc.credentials.createInsecure());
const workers = new tenure.v1.WorkerService(TENURE_ADDRESS, grpc.credentials.createInsecure());
const user = bearer(TENURE_USER_TOKEN);
const seen = { messages: [] };

const hours = (count) => ({ seconds: String(count * 3600), nanos: 0 });
const flags = { includeUpdates: true, includeApplication: true, includeProduct: true };
const retrieve = async (id) => (await call(jobs, 'RetrieveJob', { id, flags }, user)).job;

async function refused(method, request, metadata) {
  try {
    await call(jobs, method, request, metadata);
  } catch (error) {
    return refusal(error);
  }
  throw new Error(`${method} was not refused`);
}

// A worker's stream: what it hears is handed out one by one, in order.
class Session {
  constructor() {
    this.heard = [];
    this.wake = () => {};
    this.stream = workers.Connect(bearer(TENURE_WORKER_TOKEN));
    this.status = once(this.stream, 'status').then(([status]) => status);
    this.stream.on('data', (message) => {
      seen.messages.push(message.message);
      this.heard.push(message);
      this.wake();
    });
    this.stream.on('error', () => {}); // told by its status
  }

  say(message) {
    this.stream.write(message);
  }

  // The next message of this kind; others before it are passed over.
  async next(kind) {
    for (;;) {
      while (this.heard.length === 0) {
        await new Promise((resolve) => { this.wake = resolve; });
      }
      const message = this.heard.shift();
      if (message.message === kind) {
        return message[kind];
      }
    }
  }

  // Take the next assignment, and say that its command is started.
  async start() {
    const { items: [assignment] } = await this.next('assignments');
    const leaseId = assignment.leaseId;
    this.say({ accept: { leaseIds: [leaseId] } });
    const { items: [accepted] } = await this.next('acceptAck');
    this.say({ report: { items: [{ leaseId, started: {} }] } });
    const { items: [started] } = await this.next('reportAck');
    this.say({ heartbeat: { beats: [{ leaseId, count: '1', stage: 'ATTEMPT_STAGE_RUN' }] } });
    const { items: [beat] } = await this.next('heartbeatAck');
    return { assignment, accepted, started, beat };
  }
}

async function firstSeed(session) {
  const specification = {
    application: { name: 'acme-web-application', version: '1.0.0' },
    product: { id: 'example-compute', category: 'example-compute', provider: 'example' },
    replicas: 1,
    timeAllocation: hours(5),
  };
  const request = { items: [{ specification }], requestId: `node-${process.pid}` };
  const created = await call(jobs, 'CreateJobs', request, user);
  const again = await call(jobs, 'CreateJobs', request, user);
  const [{ id }] = created.responses;
  seen.repeated = again.responses[0].id === id;
  seen.created = await retrieve(id);
  seen.attempt = await session.start();
  seen.running = await retrieve(id);
  seen.extended = await call(jobs, 'ExtendJobs', { items: [{ jobId: id, requestedTime: hours(1) }] }, user);
  seen.moved = await session.next('deadlineChanged');
  await call(jobs, 'TerminateJobs', { items: [{ id, reason: 'seen enough' }] }, user);
  seen.stop = await session.next('stop');
  session.say({ report: { items: [{ leaseId: seen.attempt.assignment.leaseId, stopped: {} }] } });
  seen.stopped = await session.next('reportAck');
  seen.terminated = await retrieve(id);
  seen.final = await refused('ExtendJobs', { items: [{ jobId: id, requestedTime: hours(1) }] }, user);
}

async function anotherJob(session) {
  const specification = { queue: TENURE_QUEUE, command: 'true', heartbeatInterval: { seconds: '30', nanos: 0 } };
  const { responses: [{ id }] } = await call(jobs, 'CreateJobs', { items: [{ specification }] }, user);
  const { assignment: { leaseId } } = await session.start();
  session.say({ report: { items: [{ leaseId, succeeded: {}, lastBeat: { count: '2' } }] } });
  seen.succeeded = await session.next('reportAck');
  seen.completed = await retrieve(id);
}

async function main() {
  const session = new Session();
  const hello = {
    workerId: 'node-worker',
    incarnation: String(process.pid),
    protocolVersion: 1,
    queues: [TENURE_QUEUE, 'example-compute'],
    slots: 2,
    labels: { language: 'node' },
  };
  session.say({ hello });
  seen.welcome = await session.next('welcome');
  await firstSeed(session);
  await anotherJob(session);
  session.say({ goodbye: { reason: 'done' } });
  session.stream.end();
  const { code } = await session.status;
  seen.status = grpc.status[code];
  seen.unknown = await refused('RetrieveJob', { id: 'nobody-s' }, user);
  seen.anonymous = await refused('RetrieveJob', { id: 'nobody-s' }, new grpc.Metadata());
  jobs.close();
  workers.close();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
