<?php

// Laravel's configuration for Amazon SQS. Only endpoint is new, and prefix names the gateway.
return [
    'default' => 'sqs',

    'connections' => [
        'sqs' => [
            'driver' => 'sqs',
            'key' => env('AWS_ACCESS_KEY_ID'),
            'secret' => env('AWS_SECRET_ACCESS_KEY'),
            'endpoint' => env('AWS_ENDPOINT_URL_SQS', 'http://localhost:9324'),
            'prefix' => env('SQS_PREFIX', env('AWS_ENDPOINT_URL_SQS', 'http://localhost:9324').'/000000000000'),
            'queue' => env('SQS_QUEUE', 'laravel-jobs'),
            'suffix' => env('SQS_SUFFIX'),
            'region' => env('AWS_DEFAULT_REGION', 'us-east-1'),
        ],
    ],

    'failed' => ['driver' => 'null'], // what fails goes to the dead-letter queue
];
