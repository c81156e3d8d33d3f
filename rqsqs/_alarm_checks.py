"""Checks of what alarms are made of, and of their JSON. An error says what must be, what came, and the way out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue

WEEK_S = 604_800


def put(target: object, name: str, value: object) -> None:
    object.__setattr__(target, name, value)


def check_text(what: str, value: Any, most: int, least: int = 1) -> None:
    if not isinstance(value, str) or not least <= len(value) <= most:
        length = f" ({len(value)} characters)" if isinstance(value, str) and value else ""
        raise InvalidParameterValue(
            f"{what} must be a str of {least} to {most:,} characters, got {shown(value)}{length}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidParameterValue(f"{what} must be a str of valid Unicode, got {shown(value)}") from None


def check_json(what: str, value: Any, most: int | None) -> None:
    check_text(what, value, most or 1_000_000, 0)
    try:
        is_object = not value or isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise InvalidParameterValue(f"{what} must be a JSON object, got {shown(value)}")


def check_one_of(what: str, value: Any, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        near = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise InvalidParameterValue(f"{what} must be one of {', '.join(allowed)}, got {shown(value)}{near}")


def check_flag(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidParameterValue(f"{what} must be True or False, got {shown(value)}")


def number(what: str, value: Any) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise InvalidParameterValue(f"{what} must be a finite number, got {shown(value)}")


def check_whole(what: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidParameterValue(f"{what} must be an int of {least} or more, got {shown(value)}")


def check_period(value: Any) -> None:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or not (value in (10, 20, 30) or (value % 60 == 0 and 60 <= value <= WEEK_S)):
        rule = f"10, 20, 30 or a multiple of 60 up to {WEEK_S}"
        raise InvalidParameterValue(f"period must be {rule} (seconds), got {shown(value)}")


def as_tuple(what: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidParameterValue(f"{what} must be a list, got {shown(values)}")
    return tuple(values)


def pairs(what: str, values: Any, most: int, key: int, value: int, least: int = 1) -> dict[str, str]:
    if not isinstance(values, Mapping):
        raise InvalidParameterValue(f"{what} must map names to str, got {shown(values)}")
    if len(values) > most:
        raise InvalidParameterValue(f"{what} must be {most} at most, got {len(values)}")
    for one, other in values.items():
        check_text(f"the name of each of {what}", one, key)
        check_text(f"the value of each of {what}", other, value, least)
    return dict(values)


# JSON


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def seconds(at_ms: int) -> float:
    return at_ms / 1000


def ms(what: str, value: Any) -> int:
    return round(number(what, value) * 1000)


def required(data: Mapping[str, Any], name: str) -> Any:
    if data.get(name) is None:
        raise InvalidParameterValue(f"{name} must be given")
    return data[name]


def members(what: str, data: Any, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidParameterValue(f"{what} must be a JSON object, got {shown(data)}")
    if unknown := [name for name in data if name not in known]:
        near = did_you_mean(str(unknown[0]), known)
        raise InvalidParameterValue(f"{what} must have no member that is not supported, got {shown(unknown[0])}{near}")
    return data


def as_list(what: str, values: Any) -> list[Any]:
    if values is not None and not isinstance(values, list | tuple):
        raise InvalidParameterValue(f"{what} must be a list, got {shown(values)}")
    return list(values or ())


def pairs_of(what: str, values: Any, key: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in as_list(what, values):
        if not isinstance(pair, Mapping) or key not in pair or "Value" not in pair:
            raise InvalidParameterValue(f"each of {what} must have {key} and Value, got {shown(pair)}")
        if pair[key] in found:
            raise InvalidParameterValue(f"each of {what} must have another {key}, got {shown(pair[key])} twice")
        found[pair[key]] = pair["Value"]
    return found


def dimensions_of(values: Any) -> tuple[str | None, dict[str, str]]:
    pairs = pairs_of("Dimensions", values, "Name")
    return pairs.pop("QueueName", None), pairs
