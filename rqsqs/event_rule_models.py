"""Rules for events: frozen data, checked when it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rqsqs._alarm_checks import as_tuple, check_flag, check_one_of, check_text, check_whole, members, put, required
from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue
from rqsqs.event_models import APIS, KINDS, Event, is_by

MOST_ACTIONS, MOST_ACTION, MOST_DESCRIPTION, MOST_WHO = 5, 1_024, 512, 256
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """What is done when an event happens.

    Attributes:
        name: 1 to 64 letters, digits, '-', '_' and '.'. Rules of a prefix have different names.
        actions: what is done, 1 to 5 targets, such as those of an alarm.
        kinds: only events of these kinds; none = of all.
        queue: only of queues whose name is like this: `*` stands for any characters, `?` for one. None = of all queues
            and of none.
        who: only what was done by somebody with this text in API, name, address or account; None = by anybody.
        api: only what was done by this API: "native", "boto3", "cli", "worker", "gateway" or "console";
            None = by any.
        description: up to 512 characters, for people.
        enabled: False = nothing is done.
        created_at_ms: when it was put first, epoch ms; None = it was not read from the server.
    """

    __module__ = "rqsqs"

    name: str = field(kw_only=False)
    actions: Sequence[str]
    kinds: Sequence[str] = ()
    queue: str | None = None
    who: str | None = None
    api: str | None = None
    description: str | None = None
    enabled: bool = True
    created_at_ms: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_rule_name(self.name)
        actions = as_tuple("actions", self.actions)
        if not 1 <= len(actions) <= MOST_ACTIONS:
            raise InvalidParameterValue(f"actions must be 1 to {MOST_ACTIONS} targets, got {len(actions)}")
        for action in actions:
            check_text("each of actions", action, MOST_ACTION)
            if _CONTROL.search(action):
                raise InvalidParameterValue(f"each of actions must have no control characters, got {shown(action)}")
        put(self, "actions", actions)
        put(self, "kinds", tuple(dict.fromkeys(checked_kinds(self.kinds))))
        if self.queue is not None and not (isinstance(self.queue, str) and _PATTERN.fullmatch(self.queue)):
            raise InvalidParameterValue(
                "queue must be a name, in which * and ? stand for other characters, of 1 to 100 letters, digits and "
                f"any of _.*?-, got {shown(self.queue)}"
            )
        if self.who is not None:
            check_text("who", self.who, MOST_WHO)
        if self.api is not None:
            check_one_of("api", self.api, APIS)
        if self.description is not None:
            check_text("description", self.description, MOST_DESCRIPTION, 0)
        check_flag("enabled", self.enabled)
        if self.created_at_ms is not None:
            check_whole("created_at_ms", self.created_at_ms, 0)

    def matches(self, event: Event) -> bool:
        """Is something to be done on an event? A rule does nothing on a change of itself."""
        if not self.enabled or (self.kinds and event.kind not in self.kinds):
            return False
        if self.created_at_ms is not None and event.at_ms < self.created_at_ms:
            return False
        if event.detail.get("rule") == self.name:  # it was put
            return False
        if self.queue is not None and not (event.queue and _like(self.queue, event.queue)):
            return False
        return self.api in (None, event.who.api) and (self.who is None or is_by(event.who, self.who))

    def to_json(self) -> dict[str, Any]:
        """As it is stored, and as `rqsqs events rules ls --json` prints it."""
        found: dict[str, Any] = {"name": self.name, "actions": list(self.actions), "kinds": list(self.kinds)}
        for name in ("queue", "who", "api", "description", "created_at_ms"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        return found | {"enabled": self.enabled}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EventRule:
        """From what to_json() made.

        Raises:
            InvalidParameterValue.
        """
        names = ("name", "actions", "kinds", "queue", "who", "api", "description", "enabled", "created_at_ms")
        data = members("a rule", data, names)
        given = {name: value for name, value in data.items() if name != "name" and value is not None}
        return cls(required(data, "name"), **{"actions": (), **given})


def check_rule_name(name: Any) -> None:
    """Check the name of a rule.

    Raises:
        InvalidParameterValue: no rule can have it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "have 1 to 64 letters, digits, '-', '_' and '.'"
        raise InvalidParameterValue(f"name of a rule must {rule}, got {shown(name)}")


def checked_kinds(kinds: Any) -> tuple[str, ...]:
    """Kinds of events.

    Raises:
        InvalidParameterValue: one is none.
    """
    found = as_tuple("kinds", kinds)
    for each in found:
        if each not in KINDS:
            hint = did_you_mean(each, KINDS) if isinstance(each, str) else ""
            raise InvalidParameterValue(f"kind must be one of {', '.join(KINDS)}, got {shown(each)}{hint}")
    return found


def _like(pattern: str, name: str) -> bool:
    """In steps that no pattern makes many: a star takes as little as it can, and only the last one is tried again."""
    at = place = again = 0
    star = -1
    while place < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, again = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            again += 1
            at, place = star + 1, again
        else:
            return False
    return not pattern[at:].strip("*")
