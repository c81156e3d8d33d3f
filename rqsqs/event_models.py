"""Events of queues: frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KINDS = (
    "queue-created", "queue-deleted", "queue-purged", "settings-changed", "policy-changed", "tags-changed",
    "queue-paused", "queue-resumed", "group-paused", "group-resumed", "redrive-started", "redrive-cancelled",
    "redrive-ended", "worker-commanded", "dead-lettered", "damage-found", "worker-lost", "access-denied",
    "alarm-changed", "messages-changed", "sessions-ended",
)  # fmt: skip
APIS = ("native", "boto3", "cli", "worker", "gateway", "console")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, or found that it happened.

    Attributes:
        api: "native", "boto3", "cli", "worker", "gateway" or "console".
        name: of the program; of the user who typed a command; at a gateway or console the access key id, "" for an
            anonymous request.
        address: the host; at a gateway or console the address of the client.
        account: at a gateway or console, that of the access key, else "".
    """

    __module__ = "rqsqs"

    api: str
    name: str
    address: str = ""
    account: str = ""

    def __str__(self) -> str:
        return f"{self.name or 'anonymous'}@{self.address}" if self.address else self.name or "anonymous"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a queue, or happened to one.

    Attributes:
        id: events have ids in the order in which they were written.
        at_ms: when, by the server's clock.
        kind: for example "queue-created"; docs/events.md lists all.
        queue: its name; None if the event is of no queue.
        who: who did it, or found it.
        before: what was changed, as it was; None = it was not there.
        after: the same as it is now.
        detail: what else there is to say, by the kind of the event.
    """

    __module__ = "rqsqs"

    id: str
    at_ms: int
    kind: str
    queue: str | None
    who: Actor
    before: Mapping[str, str | None] = field(default_factory=dict)
    after: Mapping[str, str | None] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """In one line, for people: `queue-deleted: orders by ann@laptop (cli)`."""
        return f"{self.kind}{f': {self.queue}' if self.queue else ''} by {self.who} ({self.who.api})"

    def to_json(self) -> dict[str, Any]:
        """As `rqsqs events --json` prints it, and as the actions of rules get it."""
        who = self.who
        return {
            "id": self.id,
            "at": datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(),
            "kind": self.kind,
            "queue": self.queue,
            "who": {"api": who.api, "name": who.name, "address": who.address, "account": who.account},
            "before": dict(self.before),
            "after": dict(self.after),
            "detail": dict(self.detail),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """From what to_json() made."""
        at_ms = round(datetime.fromisoformat(data["at"]).timestamp() * 1000)
        parts = (data["before"], data["after"], data["detail"])
        return cls(data["id"], at_ms, data["kind"], data["queue"], Actor(**data["who"]), *parts)


def is_by(who: Actor, text: str) -> bool:
    """Is a text, in any case, part of somebody's API, name, address or account?"""
    return text.casefold() in f"{who.api} {who} {who.account}".casefold()
