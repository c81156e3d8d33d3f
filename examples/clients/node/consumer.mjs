// sqs-producer and sqs-consumer: node consumer.mjs [NAME]
//
// The SDK reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { SQS } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";
import { Producer } from "sqs-producer";

const name = process.argv[2] ?? "tour-node-consumer";
const sqs = new SQS();

const { QueueUrl: deadUrl } = await sqs.createQueue({ QueueName: `${name}-dead` });
const { Attributes: { QueueArn } } = await sqs.getQueueAttributes({ QueueUrl: deadUrl, AttributeNames: ["QueueArn"] });
const { QueueUrl: queueUrl } = await sqs.createQueue({
  QueueName: name,
  Attributes: { RedrivePolicy: JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: "2" }) },
});

// Messages are handled as they come; number 13 fails twice and becomes a dead letter.
const handled = [];
const consumer = Consumer.create({
  queueUrl,
  sqs,
  batchSize: 10,
  visibilityTimeout: 30,
  heartbeatInterval: 10, // extends while a handler works
  terminateVisibilityTimeout: true, // what failed is visible again at once
  handleMessage: async (message) => {
    if (message.Body === "13") throw new Error("13 cannot be handled");
    handled.push(Number(message.Body));
    return message; // delete it
  },
});
let failures = 0;
consumer.on("processing_error", () => { failures += 1; });

const letters = [];
const deadLetters = Consumer.create({
  queueUrl: deadUrl,
  sqs,
  handleMessage: async (message) => {
    letters.push(message.Body);
    return message;
  },
});
for (const one of [consumer, deadLetters]) {
  one.on("error", (error) => { throw error; });
  one.start();
}

// Twenty-five messages, in batches of ten.
const producer = Producer.create({ queueUrl, sqs });
await producer.send(Array.from({ length: 25 }, (_, number) => ({ id: `n${number}`, body: String(number) })));
while (handled.length < 24 || letters.length < 1) await setTimeout(50);
for (const one of [consumer, deadLetters]) {
  const stopped = once(one, "stopped");
  one.removeAllListeners("error"); // the receive that waits is cut off
  one.on("error", () => {});
  one.stop({ abort: true });
  await stopped;
}
assert.deepEqual(handled.sort((a, b) => a - b), Array.from({ length: 25 }, (_, n) => n).filter((n) => n !== 13));
assert.deepEqual(letters, ["13"]);
assert.equal(failures, 2);
assert.equal(await producer.queueSize(), 0);

console.log("node consumer: done");
