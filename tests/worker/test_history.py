"""Workers write the history of queues, one of them for all."""

from __future__ import annotations

import pytest

import rqsqs
from rqsqs.errors import AuthenticationFailed, InvalidParameterValue, ServerTimeout, UsageError
from rqsqs.metrics.sampling import Sampler
from rqsqs.worker import Worker
from tests.cli.tools import wait_for
from tests.model.harness import client as client_of
from tests.model.harness import two_minutes_ago
from tests.worker.serving import App


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every moment is the beginning of a minute."""
    monkeypatch.setattr(Sampler, "delay", lambda self: 0.02)


@pytest.mark.usefixtures("quick")
def test_a_worker_samples_all_queues(app: App) -> None:
    client = client_of(app.url)
    with rqsqs.connect(app.url, prefix=app.prefix, clock=two_minutes_ago()) as connection:
        for name in ("q", "other"):
            connection.create_queue(name)
    other = app.connection.queue("other")
    keys = other._ref.home.keys("history_last")
    app.serve({"q": print}, history=True)
    wait_for(lambda: client.exists(*keys))
    holder = client.get(other._connection.transport.space.sampler)
    assert holder is not None


@pytest.mark.usefixtures("quick")
def test_one_of_several_samples_until_it_ends(app: App) -> None:
    client = client_of(app.url)
    space = app.connection.transport.space
    first, second = Sampler(space), Sampler(space)
    transport = app.connection.transport
    assert first.take(transport)
    assert second.take(transport)
    assert (first.is_holder, second.is_holder, second.holder) == (True, False, first.name)
    client.delete(space.sampler)
    assert second.take(transport)
    assert second.is_holder
    assert first.take(transport)
    assert not first.is_holder


def test_who_had_the_lease_comes_first_in_the_next_minute(app: App) -> None:
    sampler = Sampler(app.connection.transport.space)
    late = sampler.delay()
    sampler.take(app.connection.transport)
    early = sampler.delay()
    assert early < late <= 60 + 12
    assert early <= 60.2


def test_who_may_not_gives_up_and_who_cannot_tries_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = app.connection.transport
    for error, goes_on in ((AuthenticationFailed("no"), False), (ServerTimeout("no"), True), (ValueError("bug"), True)):

        def fail(step: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(transport, "run", fail)
        assert Sampler(transport.space).take(transport) is goes_on


def test_the_environment_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    from rqsqs._io.defaults import writes_history

    for value, wanted in (("", True), ("1", True), ("0", False)):
        monkeypatch.setenv("RQSQS_HISTORY", value)
        assert writes_history() is wanted
        assert writes_history(True)
    monkeypatch.setenv("RQSQS_HISTORY", "no")
    with pytest.raises(UsageError, match="RQSQS_HISTORY must be 0 or 1, got 'no'"):
        writes_history()
    with pytest.raises(InvalidParameterValue, match="history must be a bool or None, got 'no'"):
        Worker(history="no")  # type: ignore[arg-type]
