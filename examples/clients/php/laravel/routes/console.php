<?php

// What the application does when its data change: php artisan cache:store KEY VALUE

use App\Jobs\ProcessCacheJob;
use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\Queue;

const OPERATIONS = 'cache-operations'; // a queue that workers in Python serve

Artisan::command('cache:store {key} {value}', function (string $key, string $value) {
    $operation = ['operation' => 'store', 'key' => $key, 'value' => $value];
    $this->line(Queue::connection('sqs')->pushRaw(json_encode($operation), OPERATIONS));
});

Artisan::command('cache:remove {key}', function (string $key) {
    $operation = ['operation' => 'remove', 'key' => $key];
    $this->line(Queue::connection('sqs')->pushRaw(json_encode($operation), OPERATIONS));
});

Artisan::command('job:store {key} {value} {--delay=0}', function (string $key, string $value) {
    ProcessCacheJob::dispatch('store', $key, $value)->delay((int) $this->option('delay'));
});

Artisan::command('job:remove {key}', function (string $key) {
    ProcessCacheJob::dispatch('remove', $key);
});

Artisan::command('queue:size {queue}', function (string $queue) {
    $this->line((string) Queue::connection('sqs')->size($queue));
});
