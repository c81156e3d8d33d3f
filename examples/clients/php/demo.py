"""Laravel and Python work on one cache, through the gateway: python demo.py

PHP pushes operations for workers in Python, and jobs for Laravel's own worker. The cache is closed for a while: what
fails goes to dead-letter queues and is redriven. Needs PHP with Laravel (docs/clients/php.md) and the extras gateway,
cli and embedded; starts a Valkey of its own.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

import rqsqs
from rqsqs import embedded

HERE = Path(__file__).parent
RQSQS = [sys.executable, "-m", "rqsqs"]
ARTISAN = ["php", str(HERE / "laravel" / "artisan")]
PATIENCE_S = 60
KEYS = """
[users.laravel]
account = "000000000000"

[[users.laravel.statements]]
Effect = "Allow"
Action = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
Resource = "arn:aws:sqs:us-east-1:000000000000:cache-operations"

[[users.laravel.statements]]
Effect = "Allow"
Action = ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueue*"]
Resource = "arn:aws:sqs:us-east-1:000000000000:laravel-jobs"

[[users.laravel.keys]]
id = "{key_id}"
secret = "{secret}"

[[sealing]]
secret = "{sealing}"
"""


def main() -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(embedded.acquire())
        url = f"unix://{server.socket_path}?db=0"
        cache = redis.Redis.from_url(url, decode_responses=True)
        queues = stack.enter_context(rqsqs.connect(url))
        env = os.environ | {"RQSQS_URL": url, "CACHE_URL": url, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

        say("A gateway, with a key for Laravel that may use two queues")
        key_id, secret = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
        keys = folder / "keys.toml"
        keys.touch(0o600)
        keys.write_text(KEYS.format(key_id=key_id, secret=secret, sealing=secrets.token_urlsafe(32)))
        command = [*RQSQS, "gateway", "--port", "0", "--keys", str(keys)]
        gateway = stack.enter_context(running(command, env, stdout=subprocess.PIPE))
        address = gateway.stdout.readline().decode().strip()
        php = env | {
            "AWS_ENDPOINT_URL_SQS": address,
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "REDIS_HOST": server.socket_path,
            "REDIS_PORT": "0",
        }

        say("Queues with dead-letter queues, two workers in Python, and Laravel's worker")
        queues.create_queue("laravel-jobs-dead")
        queues.create_queue("laravel-jobs", dead_letter_queue="laravel-jobs-dead", max_receive_count=3, wait=20)
        log = stack.enter_context((folder / "log").open("wb"))
        stack.push(lambda kind, error, traceback: error and print((folder / "log").read_text("utf-8", "replace")))
        worker = [*RQSQS, "worker", "cache_worker:worker", "--processes", "2"]
        stack.enter_context(running(worker, env, cwd=HERE, stdout=log, stderr=log))
        laravel = [*ARTISAN, "queue:work", "sqs", "--queue", "laravel-jobs", "--sleep", "0", "--tries", "0"]
        stack.enter_context(running(laravel, php, stdout=log, stderr=log))
        wait_until("the Python workers have made their queue", lambda: "cache-operations" in names(queues))

        def artisan(*words: str) -> str:
            done = subprocess.run([*ARTISAN, *words], env=php, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        say("Queue::connection('sqs')->pushRaw(...): store ten values, remove five")
        for number in range(10):
            artisan("cache:store", f"user:{number}", f"value {number}")
        wait_until("ten values are in the cache", lambda: len(cache.keys("cache:user:*")) == 10)
        assert cache.get("cache:user:7") == "value 7"
        assert 0 < cache.ttl("cache:user:7") <= 60
        for number in range(5):
            artisan("cache:remove", f"user:{number}")
        wait_until("five of them are gone", lambda: len(cache.keys("cache:user:*")) == 5)

        say("ProcessCacheJob::dispatch(...): run by Laravel's worker, one of them after a second")
        artisan("job:store", "session", "from Laravel")
        artisan("job:store", "later", "with a delay", "--delay=1")
        wait_until("Laravel has stored both", lambda: cache.mget("cache:session", "cache:later").count(None) == 0)
        assert cache.get("cache:session") == "from Laravel"
        assert 0 < cache.ttl("cache:session") <= 60
        artisan("job:remove", "session")
        wait_until("Laravel has removed one", lambda: cache.get("cache:session") is None)

        say("The cache is closed: both workers fail three times, and the dead-letter queues get the messages")
        cache.set("cache-closed", 1)
        artisan("cache:store", "a", "by Python")
        artisan("job:store", "b", "by Laravel")
        letters = [queues.queue("cache-operations-dead"), queues.queue("laravel-jobs-dead")]
        wait_until("there are two dead letters", lambda: [queue.counts().visible for queue in letters] == [1, 1])
        assert cache.mget("cache:a", "cache:b") == [None, None]

        say("It is open again: redrive")
        cache.delete("cache-closed")
        for queue in letters:
            done = subprocess.run([*RQSQS, "dlq", "redrive", queue.name], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        wait_until("both are applied", lambda: cache.mget("cache:a", "cache:b") == ["by Python", "by Laravel"])

        say("What may not be done is refused")
        refused = subprocess.run([*ARTISAN, "queue:size", "payroll"], env=php, capture_output=True, text=True)
        assert refused.returncode != 0
        assert "not authorized" in refused.stdout + refused.stderr, refused.stdout + refused.stderr
        assert artisan("queue:size", "laravel-jobs").strip() == "0"
        assert [queue.counts() for queue in letters] == [rqsqs.Counts(), rqsqs.Counts()]
    say("Done: everything that PHP sent was applied, and nothing is left")


def names(queues: rqsqs.Connection) -> list[str]:
    return [queue.name for queue in queues.queues()]


@contextlib.contextmanager
def running(command: list[str], env: dict[str, str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end. Laravel's worker may be in a long poll, and then it does not hear SIGTERM."""
    with subprocess.Popen(command, env=env, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError(f"not within {PATIENCE_S} seconds: {what}")
        time.sleep(0.02)
    say(f"  {what} ({1000 * (time.monotonic() - started):.0f} ms)")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
