<?php

// Where the example's cache is. A unix socket has a path as host, and port 0.
return [
    'redis' => [
        'client' => 'phpredis',
        'default' => [
            'host' => env('REDIS_HOST', '127.0.0.1'),
            'port' => env('REDIS_PORT', 6379),
            'database' => 0,
        ],
    ],
];
