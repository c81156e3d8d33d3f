// A tour of SQS with @aws-sdk/client-sqs: node tour.mjs [NAME]
//
// The SDK reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.
import assert from "node:assert/strict";
import { SQS } from "@aws-sdk/client-sqs";

const name = process.argv[2] ?? "tour-node";
const sqs = new SQS();

// Queues: what fails twice goes to the dead-letter queue.
const { QueueUrl: deadUrl } = await sqs.createQueue({ QueueName: `${name}-dead` });
const { Attributes: { QueueArn } } = await sqs.getQueueAttributes({ QueueUrl: deadUrl, AttributeNames: ["QueueArn"] });
const { QueueUrl } = await sqs.createQueue({
  QueueName: name,
  Attributes: { RedrivePolicy: JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: "2" }) },
});
const { QueueUrl: fifoUrl } = await sqs.createQueue({ QueueName: `${name}.fifo`, Attributes: { FifoQueue: "true" } });

const receive = async (options) => (await sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 20, ...options })).Messages;
const language = { DataType: "String", StringValue: "JavaScript" };

// A consumer waits in a long poll before anything is sent.
const waiting = receive({ MessageAttributeNames: ["All"] });
await sqs.sendMessage({
  QueueUrl,
  MessageBody: "hello, wörld",
  DelaySeconds: 1,
  MessageAttributes: { language, digest: { DataType: "Binary", BinaryValue: Uint8Array.of(0, 255) } },
});
const [hello] = await waiting;
assert.equal(hello.Body, "hello, wörld");
assert.equal(hello.MessageAttributes.language.StringValue, "JavaScript");
assert.deepEqual([...hello.MessageAttributes.digest.BinaryValue], [0, 255]);

// Extend: it is ours for ten minutes from now on. Then it is done.
await sqs.changeMessageVisibility({ QueueUrl, ReceiptHandle: hello.ReceiptHandle, VisibilityTimeout: 600 });
await sqs.deleteMessage({ QueueUrl, ReceiptHandle: hello.ReceiptHandle });

// A batch: the answer says which entries failed.
const sent = await sqs.sendMessageBatch({
  QueueUrl,
  Entries: [
    { Id: "a", MessageBody: "one" },
    { Id: "b", MessageBody: "two" },
    { Id: "c", MessageBody: "too late", DelaySeconds: 901 },
  ],
});
assert.deepEqual(sent.Successful.map((entry) => entry.Id), ["a", "b"]);
assert.deepEqual(sent.Failed.map((entry) => entry.Id), ["c"]);
const received = await receive({ MaxNumberOfMessages: 10 });
assert.deepEqual(received.map((message) => message.Body).sort(), ["one", "two"]);
await sqs.deleteMessageBatch({
  QueueUrl,
  Entries: received.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle })),
});

// A dead letter: received and given back twice.
await sqs.sendMessage({ QueueUrl, MessageBody: "broken", MessageAttributes: { language } });
for (const receiveCount of ["1", "2"]) {
  const [message] = await receive({ MessageSystemAttributeNames: ["ApproximateReceiveCount"] });
  assert.equal(message.Attributes.ApproximateReceiveCount, receiveCount);
  await sqs.changeMessageVisibility({ QueueUrl, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: 0 });
}
assert.equal(await receive({ WaitTimeSeconds: 0 }), undefined);
const [letter] = await receive({ QueueUrl: deadUrl, VisibilityTimeout: 0 });
assert.equal(letter.Body, "broken");

// FIFO: in order for each group, and a repeated send is recognised.
for (const body of ["first", "second", "second", "third"]) {
  await sqs.sendMessage({
    QueueUrl: fifoUrl,
    MessageBody: body,
    MessageGroupId: "order-1",
    MessageDeduplicationId: body,
  });
}
const ordered = await receive({ QueueUrl: fifoUrl, MaxNumberOfMessages: 10 });
assert.deepEqual(ordered.map((message) => message.Body), ["first", "second", "third"]);
for (const { ReceiptHandle } of ordered) await sqs.deleteMessage({ QueueUrl: fifoUrl, ReceiptHandle });

// A wrong key is refused.
const wrong = new SQS({ credentials: { accessKeyId: "AKIAWRONGKEY", secretAccessKey: "wrong" } });
await assert.rejects(
  wrong.sendMessage({ QueueUrl, MessageBody: "nobody may read this" }),
  (error) => error.$metadata.httpStatusCode === 403 && /InvalidClientTokenId|UnrecognizedClient/.test(error.name),
);

console.log("node: done");
