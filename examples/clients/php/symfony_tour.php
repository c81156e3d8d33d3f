<?php

// Symfony Messenger over SQS: php symfony_tour.php [NAME]
//
// Reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. In an application the DSN stands in
// config/packages/messenger.yaml, and `php bin/console messenger:consume` runs the worker.

declare(strict_types=1);

use AsyncAws\Core\Exception\Http\HttpException;
use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\Messenger\Bridge\AmazonSqs\Transport\AmazonSqsFifoStamp;
use Symfony\Component\Messenger\Bridge\AmazonSqs\Transport\AmazonSqsTransportFactory;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\EventListener\StopWorkerOnMessageLimitListener;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\Handler\HandlersLocator;
use Symfony\Component\Messenger\MessageBus;
use Symfony\Component\Messenger\Middleware\HandleMessageMiddleware;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Transport\TransportInterface;
use Symfony\Component\Messenger\Worker;

require __DIR__.'/autoload.php';

final class Greeting
{
    public function __construct(public string $text)
    {
    }
}

function check(mixed $wanted, mixed $got): void
{
    if ($wanted !== $got) {
        throw new RuntimeException('wanted '.json_encode($wanted).', got '.json_encode($got));
    }
}

/** sqs://KEY:SECRET@HOST:PORT/QUEUE: sslmode=disable means http. */
function transport(string $queue, ?string $key = null, ?string $secret = null): TransportInterface
{
    $gateway = parse_url(getenv('AWS_ENDPOINT_URL_SQS'));
    $dsn = sprintf(
        'sqs://%s:%s@%s:%d/%s?region=%s&wait_time=20&poll_timeout=25%s',
        rawurlencode($key ?? getenv('AWS_ACCESS_KEY_ID')),
        rawurlencode($secret ?? getenv('AWS_SECRET_ACCESS_KEY')),
        $gateway['host'],
        $gateway['port'],
        $queue,
        getenv('AWS_REGION'),
        $gateway['scheme'] === 'http' ? '&sslmode=disable' : '',
    );

    return (new AmazonSqsTransportFactory())->createTransport($dsn, [], new PhpSerializer());
}

$name = $argv[1] ?? 'tour-symfony';

// Send: the queue is made by the first message. One has a delay of a second.
$transport = transport($name);
foreach (['one', 'two', 'three'] as $text) {
    $transport->send(new Envelope(new Greeting($text)));
}
$transport->send(new Envelope(new Greeting('late'), [new DelayStamp(1000)]));

// Symfony's worker calls the handler and deletes what it has handled.
$handled = [];
$bus = new MessageBus([new HandleMessageMiddleware(new HandlersLocator([
    Greeting::class => [function (Greeting $greeting) use (&$handled): void {
        $handled[] = $greeting->text;
    }],
]))]);
$dispatcher = new EventDispatcher();
$dispatcher->addSubscriber(new StopWorkerOnMessageLimitListener(4));
(new Worker([$name => $transport], $bus, $dispatcher))->run();
sort($handled);
check(['late', 'one', 'three', 'two'], $handled);
check(0, $transport->getMessageCount());

// FIFO: in order for each group, and a repeated send is recognised.
$fifo = transport("$name.fifo");
foreach (['first', 'second', 'second', 'third'] as $text) {
    $fifo->send(new Envelope(new Greeting($text), [new AmazonSqsFifoStamp('order-1', $text)]));
}
$received = [];
while (count($received) < 3) {
    foreach ($fifo->get() as $envelope) {
        $received[] = $envelope->getMessage()->text;
        $fifo->ack($envelope);
    }
}
check(['first', 'second', 'third'], $received);

// A wrong key is refused.
try {
    transport($name, 'AKIAWRONGKEY', 'wrong')->send(new Envelope(new Greeting('nobody may read this')));
} catch (TransportException $error) {
    check('InvalidClientTokenId', $error->getPrevious() instanceof HttpException ? $error->getPrevious()->getAwsCode() : '');
    echo "Symfony Messenger: done\n";
    exit(0);
}
throw new RuntimeException('a wrong key was accepted');
