<?php

// A stand-in for Aws\Sqs\SqsClient of aws/aws-sdk-php, for machines without Composer: the calls that Laravel's SQS driver
// makes, carried out by AsyncAws. An application has the real one: composer require aws/aws-sdk-php

namespace Aws\Sqs;

use AsyncAws\Sqs\SqsClient as AsyncAwsClient;
use Illuminate\Support\Fluent;

class SqsClient
{
    private AsyncAwsClient $client;

    /** @param array $config what config/queue.php says, and `credentials` */
    public function __construct(array $config)
    {
        $this->client = new AsyncAwsClient(array_filter([
            'endpoint' => $config['endpoint'] ?? null,
            'region' => $config['region'] ?? null,
            'accessKeyId' => $config['credentials']['key'] ?? null,
            'accessKeySecret' => $config['credentials']['secret'] ?? null,
        ]));
    }

    public function sendMessage(array $input): Fluent
    {
        return new Fluent(['MessageId' => $this->client->sendMessage($input)->getMessageId()]);
    }

    public function receiveMessage(array $input): Fluent
    {
        $messages = [];
        foreach ($this->client->receiveMessage($input)->getMessages() as $message) {
            $messages[] = [
                'MessageId' => $message->getMessageId(),
                'ReceiptHandle' => $message->getReceiptHandle(),
                'Body' => $message->getBody(),
                'Attributes' => $message->getAttributes(),
            ];
        }

        return new Fluent(['Messages' => $messages ?: null]);
    }

    public function getQueueAttributes(array $input): Fluent
    {
        return new Fluent(['Attributes' => $this->client->getQueueAttributes($input)->getAttributes()]);
    }

    public function deleteMessage(array $input): void
    {
        $this->client->deleteMessage($input)->resolve();
    }

    public function changeMessageVisibility(array $input): void
    {
        $this->client->changeMessageVisibility($input)->resolve();
    }

    public function purgeQueue(array $input): void
    {
        $this->client->purgeQueue($input)->resolve();
    }
}
