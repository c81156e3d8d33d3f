"""Sends tasks to the worker of tasks.py and waits for their results: python tour.py

The results need a backend: CELERY_RESULT_BACKEND, for example redis://localhost:6379/1.
"""

from celery import group
from kombu.exceptions import OperationalError
from tasks import add, app, second_time

assert add.delay(2, 3).get(timeout=120) == 5
assert group(add.s(n, n) for n in range(20)).apply_async().get(timeout=120) == [2 * n for n in range(20)]
assert add.apply_async((4, 5), countdown=2).get(timeout=120) == 9
assert second_time.delay("again").get(timeout=120) == "AGAIN"

# A wrong key is refused.
wrong = app.connection_for_write(userid="AKIAWRONGKEY", password="wrong")
try:
    add.apply_async((1, 1), connection=wrong, retry=False)
except Exception as error:  # botocore's or kombu's, by version
    assert isinstance(error, OperationalError) or "InvalidClientTokenId" in str(error), error
else:
    raise AssertionError("a wrong key was accepted")

print("celery: done")
