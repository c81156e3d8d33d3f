<?php

// Laravel's own; the cache of the example is in Redis, see config/database.php.
return [
    'default' => 'array',
    'stores' => ['array' => ['driver' => 'array']],
];
