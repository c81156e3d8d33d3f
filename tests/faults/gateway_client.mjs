// Consumes with sqs-consumer until it is ended: node gateway_client.mjs QUEUE_URL
// Each line that it prints is the body of a message that was handled; messages are deleted behind that.
import { SQS } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const consumer = Consumer.create({
  queueUrl: process.argv[2],
  sqs: new SQS(),
  batchSize: 5,
  waitTimeSeconds: 5,
  visibilityTimeout: 10,
  pollingCompleteWaitTimeMs: 0,
  handleMessage: async (message) => {
    process.stdout.write(`${message.Body}\n`);
    return message;
  },
});
for (const event of ["error", "processing_error", "timeout_error"]) {
  consumer.on(event, (error) => process.stderr.write(`${event}: ${error.message}\n`));
}
consumer.start();
