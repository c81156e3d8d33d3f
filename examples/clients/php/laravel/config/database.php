<?php

// Where the example's cache is.
$cache = parse_url(getenv('CACHE_URL') ?: 'redis://localhost:6379');

return [
    'redis' => [
        'client' => 'phpredis',
        'default' => ['host' => $cache['host'], 'port' => $cache['port'] ?? 6379, 'database' => 0],
    ],
];
