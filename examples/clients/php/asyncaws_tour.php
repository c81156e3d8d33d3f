<?php

// A tour of SQS with AsyncAws: php asyncaws_tour.php [NAME]
//
// Reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.

declare(strict_types=1);

use AsyncAws\Core\Exception\Http\ClientException;
use AsyncAws\Sqs\SqsClient;

require __DIR__.'/autoload.php';

function check(mixed $wanted, mixed $got): void
{
    if ($wanted !== $got) {
        throw new RuntimeException('wanted '.json_encode($wanted).', got '.json_encode($got));
    }
}

$name = $argv[1] ?? 'tour-asyncaws';
$sqs = new SqsClient(['endpoint' => getenv('AWS_ENDPOINT_URL_SQS')]);

// Queues: what fails twice goes to the dead-letter queue.
$deadUrl = $sqs->createQueue(['QueueName' => "$name-dead"])->getQueueUrl();
$found = $sqs->getQueueAttributes(['QueueUrl' => $deadUrl, 'AttributeNames' => ['QueueArn']])->getAttributes();
$policy = json_encode(['deadLetterTargetArn' => $found['QueueArn'], 'maxReceiveCount' => '2']);
$url = $sqs->createQueue(['QueueName' => $name, 'Attributes' => ['RedrivePolicy' => $policy]])->getQueueUrl();
$fifoUrl = $sqs->createQueue(['QueueName' => "$name.fifo", 'Attributes' => ['FifoQueue' => 'true']])->getQueueUrl();

// Send, with attributes. It is visible in a second: the receive is a long poll.
$attributes = [
    'language' => ['DataType' => 'String', 'StringValue' => 'PHP'],
    'digest' => ['DataType' => 'Binary', 'BinaryValue' => "\x00\xff"],
];
$sqs->sendMessage([
    'QueueUrl' => $url,
    'MessageBody' => 'hello, wörld',
    'DelaySeconds' => 1,
    'MessageAttributes' => $attributes,
]);
[$message] = $sqs->receiveMessage([
    'QueueUrl' => $url,
    'WaitTimeSeconds' => 20,
    'MessageAttributeNames' => ['All'],
])->getMessages();
check('hello, wörld', $message->getBody());
check('PHP', $message->getMessageAttributes()['language']->getStringValue());
check("\x00\xff", $message->getMessageAttributes()['digest']->getBinaryValue());

// Extend: it is ours for ten minutes from now on. Then it is done.
$handle = $message->getReceiptHandle();
$sqs->changeMessageVisibility(['QueueUrl' => $url, 'ReceiptHandle' => $handle, 'VisibilityTimeout' => 600]);
$sqs->deleteMessage(['QueueUrl' => $url, 'ReceiptHandle' => $handle]);

// A batch: the answer says which entries failed.
$sent = $sqs->sendMessageBatch(['QueueUrl' => $url, 'Entries' => [
    ['Id' => 'a', 'MessageBody' => 'one'],
    ['Id' => 'b', 'MessageBody' => 'two', 'DelaySeconds' => 901],
]]);
check('a', $sent->getSuccessful()[0]->getId());
check('b', $sent->getFailed()[0]->getId());
[$message] = $sqs->receiveMessage(['QueueUrl' => $url, 'WaitTimeSeconds' => 20])->getMessages();
check('one', $message->getBody());
$sqs->deleteMessageBatch(['QueueUrl' => $url, 'Entries' => [
    ['Id' => 'a', 'ReceiptHandle' => $message->getReceiptHandle()],
]]);

// A dead letter: received and given back twice.
$sqs->sendMessage(['QueueUrl' => $url, 'MessageBody' => 'broken', 'MessageAttributes' => $attributes]);
for ($receive = 0; $receive < 2; ++$receive) {
    [$message] = $sqs->receiveMessage(['QueueUrl' => $url, 'WaitTimeSeconds' => 20])->getMessages();
    $sqs->changeMessageVisibility([
        'QueueUrl' => $url,
        'ReceiptHandle' => $message->getReceiptHandle(),
        'VisibilityTimeout' => 0,
    ]);
}
check([], $sqs->receiveMessage(['QueueUrl' => $url])->getMessages());
[$letter] = $sqs->receiveMessage([
    'QueueUrl' => $deadUrl,
    'WaitTimeSeconds' => 20,
    'VisibilityTimeout' => 0,
])->getMessages();
check('broken', $letter->getBody());

// FIFO: in order for each group, and a repeated send is recognised.
foreach (['first', 'second', 'second', 'third'] as $body) {
    $sqs->sendMessage([
        'QueueUrl' => $fifoUrl,
        'MessageBody' => $body,
        'MessageGroupId' => 'order-1',
        'MessageDeduplicationId' => $body,
    ])->resolve();
}
$received = $sqs->receiveMessage([
    'QueueUrl' => $fifoUrl,
    'WaitTimeSeconds' => 20,
    'MaxNumberOfMessages' => 10,
])->getMessages();
check(['first', 'second', 'third'], array_map(fn ($message) => $message->getBody(), $received));
foreach ($received as $message) {
    $sqs->deleteMessage(['QueueUrl' => $fifoUrl, 'ReceiptHandle' => $message->getReceiptHandle()]);
}

// A wrong key is refused.
$wrong = new SqsClient([
    'endpoint' => getenv('AWS_ENDPOINT_URL_SQS'),
    'accessKeyId' => 'AKIAWRONGKEY',
    'accessKeySecret' => 'wrong',
]);
try {
    $wrong->sendMessage(['QueueUrl' => $url, 'MessageBody' => 'nobody may read this'])->resolve();
} catch (ClientException $error) {
    check('InvalidClientTokenId', $error->getAwsCode());
    check(403, $error->getResponse()->getStatusCode());
    echo "AsyncAws: done\n";
    exit(0);
}
throw new RuntimeException('a wrong key was accepted');
