// BullMQ for benchmarks/peers.py: its Queue, and its Worker as it is meant to be used.
//
//   node bullmq.cjs ROLE URL QUEUE [{"board": PATH, "slot": N, "each": N, "batch": N, "size": N, "cap": N}]
//
// It says READY, and for `produce` and `consume` waits for a line with a number of seconds. Numbers of messages go to
// the board, a file.
'use strict';
const fs = require('fs');
const readline = require('readline');
const { Queue, Worker } = require('bullmq');

const [role, url, name, rest] = process.argv.slice(2);
const given = JSON.parse(rest || '{}');
const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const options = { removeOnComplete: true };
const CONCURRENCY = 50;
const say = (text) => fs.writeSync(1, `${text}\n`);
const cpu = () => { const used = process.cpuUsage(); return (used.user + used.system) / 1e6; };
const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const board = given.board ? fs.openSync(given.board, 'r+') : null;
const numbers = Buffer.alloc(16 * (given.each || 1));
let count = 0;
const add = (more) => {
  count += more;
  const eight = Buffer.alloc(8);
  eight.writeBigInt64LE(BigInt(count));
  fs.writeSync(board, eight, 0, 8, 8 * given.slot);
};
const isFull = () => {
  fs.readSync(board, numbers, 0, numbers.length, 0);
  let waiting = 0;
  for (let i = 0; i < 2 * given.each; i += 1) {
    waiting += (i < given.each ? 1 : -1) * Number(numbers.readBigInt64LE(8 * i));
  }
  return waiting > given.cap;
};
const sendAll = (queue, bodies) => (bodies.length === 1
  ? queue.add('job', { body: bodies[0] }, options)
  : queue.addBulk(bodies.map((body) => ({ name: 'job', data: { body }, opts: options }))));
const work = (handle) => {
  const settings = { connection, concurrency: CONCURRENCY, autorun: false };
  return new Worker(name, async (job) => handle(job.data.body), settings);
};

const roles = {
  // Each line is a list of bodies; "now" stands for the time it is read.
  async send() {
    const queue = new Queue(name, { connection });
    await queue.waitUntilReady();
    say('READY');
    for await (const line of lines) {
      await sendAll(queue, JSON.parse(line).map((body) => (body === 'now' ? String(process.hrtime.bigint()) : body)));
      say('sent');
    }
    process.exit(0);
  },
  async produce() {
    const queue = new Queue(name, { connection });
    await queue.waitUntilReady();
    say('READY');
    const seconds = Number((await lines.next()).value);
    const began = cpu();
    const end = Date.now() + 1000 * seconds;
    const bodies = Array(given.batch).fill('x'.repeat(given.size));
    while (Date.now() < end) {
      await sendAll(queue, bodies);
      add(given.batch);
      while (isFull() && Date.now() < end) await sleep(4);
    }
    say(cpu() - began);
    process.exit(0);
  },
  async consume() {
    const worker = work(async () => add(1));
    await worker.waitUntilReady();
    say('READY');
    const seconds = Number((await lines.next()).value);
    const began = cpu();
    worker.run();
    setTimeout(() => { say(cpu() - began); process.exit(0); }, 1000 * seconds);
  },
  // Prints the nanoseconds since the body was made.
  async listen() {
    const worker = work(async (body) => say(process.hrtime.bigint() - BigInt(body)));
    await worker.waitUntilReady();
    worker.run();
    say('READY');
  },
};
roles[role]().catch((error) => { console.error(String(error)); process.exit(1); });
