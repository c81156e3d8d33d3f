<?php

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Support\Facades\Redis;
use RuntimeException;

/** Stores a value in the cache for a minute, or removes it. */
class ProcessCacheJob implements ShouldQueue
{
    use Dispatchable, InteractsWithQueue, Queueable;

    public int $backoff = 1; // seconds until a failed job is visible again

    public function __construct(
        public string $operation,
        public string $key,
        public ?string $value = null,
    ) {
    }

    public function handle(): void
    {
        if (Redis::exists('cache-closed')) {
            throw new RuntimeException('the cache is closed');
        }
        match ($this->operation) {
            'store' => Redis::setex("cache:$this->key", 60, $this->value),
            'remove' => Redis::del("cache:$this->key"),
        };
    }
}
