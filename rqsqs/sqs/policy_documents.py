"""The grammar of IAM's policies: whether a document is one, and its statements in one form.

    document   Version, Id, Statement                                              one statement needs no list
    statement  Sid, Effect, Principal or NotPrincipal, Action or NotAction, Resource or NotResource, Condition

A policy of a queue says to whom it applies (Principal), one of a user does not. What policies mean is decided by the
gateway (rqsqs/gateway/policies.py), which compiles what is read here.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

VERSIONS = ("2008-10-17", "2012-10-17")  # the older one, also meant if there is none, has no variables

_DOCUMENT = {"Version", "Id", "Statement"}
_STATEMENT = {
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_PRINCIPAL_KINDS = {"AWS", "CanonicalUser", "Federated", "Service"}
_AWS_PRINCIPAL = re.compile(
    r"\*|[0-9]{12}|A[A-Z0-9]{15,127}|arn:[a-z-]+:(?:iam|sts)::[0-9]{12}:"
    r"(?:root|(?:user|role|assumed-role|federated-user)/[^*?\s]+)"
)
_KEY = re.compile(r"[A-Za-z0-9-]+:[^\s:]\S*|[A-Za-z0-9-]+:[^:]+/.+")
_SETS = ("ForAllValues", "ForAnyValue")
_MAX_TEXT = 2048


class PolicyInvalid(ValueError):
    """It is no policy."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One key below one operator of a Condition.

    Attributes:
        operator: without ForAllValues, ForAnyValue and IfExists.
        key: in lower case, as condition keys are compared.
        values: as texts.
        set_operator: `ForAllValues`, `ForAnyValue` or "".
        if_exists: whether it holds if there is no such key.
    """

    operator: str
    key: str
    values: tuple[str, ...]
    set_operator: str = ""
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class StatementText:
    """A statement in one form: lists where one or several may stand.

    Attributes:
        sid: its Sid, "" if it has none.
        is_allow: Allow or Deny.
        principals: kind and name of each; None in a policy of a user.
        is_not_principal, is_not_action, is_not_resource: whether everything else is meant.
    """

    sid: str
    is_allow: bool
    principals: tuple[tuple[str, str], ...] | None
    is_not_principal: bool
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    is_not_resource: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy.

    Attributes:
        has_variables: whether ${...} is a variable in it.
        statements: at least one.
    """

    has_variables: bool
    statements: tuple[StatementText, ...]


def read_policy(document: str | Mapping[str, Any], *, of_queue: bool) -> PolicyDocument:
    """Read a policy.

    Args:
        document: its JSON, or what that means.
        of_queue: whether it is the policy of a queue, else it is that of a user.

    Raises:
        PolicyInvalid: it is none.
    """
    try:
        parsed = json.loads(document, object_pairs_hook=_unique) if isinstance(document, str) else document
    except RecursionError:
        raise PolicyInvalid("a policy must not be nested so deeply") from None
    except ValueError as error:
        raise PolicyInvalid(
            str(error) if isinstance(error, PolicyInvalid) else f"a policy must be JSON: {error}"
        ) from None
    _check_members(parsed, _DOCUMENT, "a policy")
    version = parsed.get("Version", VERSIONS[0])
    if version not in VERSIONS:
        raise PolicyInvalid(f"Version must be {' or '.join(VERSIONS)}, got {version!r:.80}")
    if not isinstance(parsed.get("Id", ""), str):
        raise PolicyInvalid("Id must be a text")
    statements = parsed.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyInvalid("Statement must be a list with at least one statement")
    has_variables = version == VERSIONS[1]
    read = tuple(_statement(each, f"statement {n}", of_queue, has_variables) for n, each in enumerate(statements, 1))
    sids = [each.sid for each in read if each.sid]
    if len(set(sids)) < len(sids):
        raise PolicyInvalid("each Sid must be used once")
    return PolicyDocument(has_variables, read)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members := dict(pairs)) < len(pairs):
        raise PolicyInvalid("each member must be given once")
    return members


def _statement(parsed: Any, where: str, of_queue: bool, has_variables: bool) -> StatementText:
    _check_members(parsed, _STATEMENT, where)
    sid, effect = parsed.get("Sid", ""), parsed.get("Effect")
    if not isinstance(sid, str):
        raise PolicyInvalid(f"{where}: Sid must be a text")
    if effect not in ("Allow", "Deny"):
        raise PolicyInvalid(f"{where}: Effect must be Allow or Deny, got {effect!r:.80}")
    is_not_action, actions = _texts(parsed, "Action", where)
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise PolicyInvalid(f"{where}: an action must be like sqs:SendMessage, sqs:* or *, got {action!r:.80}")
    is_not_resource, resources = _texts(parsed, "Resource", where)
    for resource in resources:
        if resource != "*" and (len(segments(resource)) < 6 or not resource.startswith("arn:")):
            raise PolicyInvalid(f"{where}: a resource must be * or like arn:aws:sqs:*:*:orders, got {resource!r:.200}")
        if has_variables and any("${" in part for part in segments(resource)[:5]):
            raise PolicyInvalid(f"{where}: variables must stand behind the fifth colon of a resource")
    principals, is_not_principal = None, False
    if of_queue:
        is_not_principal, principals = _principals(parsed, where)
    elif "Principal" in parsed or "NotPrincipal" in parsed:
        raise PolicyInvalid(f"{where}: the policy of a user must have no Principal, since it applies to that user")
    conditions = _conditions(parsed.get("Condition", {}), where)
    return StatementText(sid, effect == "Allow", principals, is_not_principal, actions, is_not_action, resources,
                         is_not_resource, conditions)  # fmt: skip


def _check_members(parsed: Any, known: set[str], where: str) -> None:
    if not isinstance(parsed, Mapping):
        raise PolicyInvalid(f"{where} must be a JSON object")
    for name in parsed:
        if name not in known:
            raise PolicyInvalid(f"{where} must have no member {name!r:.80}")


def _one_of(parsed: Mapping[str, Any], name: str, where: str) -> tuple[bool, Any]:
    """Whether the Not form was used, and its value."""
    is_not = f"Not{name}" in parsed
    if is_not == (name in parsed):
        raise PolicyInvalid(f"{where} must have {name} or Not{name}, and one of them only")
    return is_not, parsed[f"Not{name}" if is_not else name]


def _texts(parsed: Mapping[str, Any], name: str, where: str) -> tuple[bool, tuple[str, ...]]:
    is_not, value = _one_of(parsed, name, where)
    return is_not, _list_of_texts(value, f"{where}: {name}")


def _list_of_texts(value: Any, where: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(each, str) and each for each in values):
        raise PolicyInvalid(f"{where} must be a text or a list of texts")
    if any(len(each) > _MAX_TEXT for each in values):
        raise PolicyInvalid(f"{where} must have at most {_MAX_TEXT} characters")
    return tuple(values)


def _principals(parsed: Mapping[str, Any], where: str) -> tuple[bool, tuple[tuple[str, str], ...]]:
    is_not, value = _one_of(parsed, "Principal", where)
    if value == "*":
        return is_not, (("AWS", "*"),)
    if not isinstance(value, Mapping) or not value or not value.keys() <= _PRINCIPAL_KINDS:
        kinds = ", ".join(sorted(_PRINCIPAL_KINDS))
        raise PolicyInvalid(f"{where}: Principal must be * or an object with one of {kinds}")
    found = [(kind, name) for kind, names in value.items() for name in _list_of_texts(names, f"{where}: Principal")]
    for kind, name in found:
        if kind == "AWS" and not _AWS_PRINCIPAL.fullmatch(name):
            raise PolicyInvalid(
                f"{where}: a principal must be *, an account, or the ARN of a user or role of one, got {name!r:.200}"
            )
        if kind != "AWS" and "*" in name:
            raise PolicyInvalid(f"{where}: a principal must have no wildcard, got {name!r:.200}")
    return is_not, tuple(found)


def _conditions(parsed: Any, where: str) -> tuple[Condition, ...]:
    if not isinstance(parsed, Mapping):
        raise PolicyInvalid(f"{where}: Condition must be a JSON object")
    found = []
    for spelled, tests in parsed.items():
        set_operator, operator, if_exists = _operator(spelled, where)
        if not isinstance(tests, Mapping) or not tests:
            raise PolicyInvalid(f"{where}: {spelled} must have an object with condition keys")
        for key, value in tests.items():
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise PolicyInvalid(f"{where}: a condition key must be like aws:SourceIp, got {key!r:.80}")
            texts = tuple(_value(each, where) for each in (value if isinstance(value, list) else [value]))
            for text in texts:
                _check_value(operator, text, f"{where}: {spelled} of {key}")
            found.append(Condition(operator, key.lower(), texts, set_operator, if_exists))
    return tuple(found)


def _operator(spelled: Any, where: str) -> tuple[str, str, bool]:
    set_operator, colon, rest = str(spelled).rpartition(":")
    operator = rest.removesuffix("IfExists")
    if (
        operator not in OPERATORS
        or (colon and set_operator not in _SETS)
        or (operator == "Null" and (set_operator or rest != operator))
    ):
        raise PolicyInvalid(f"{where}: there is no condition operator {spelled!r:.80}")
    return set_operator, operator, rest != operator


def _value(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise PolicyInvalid(f"{where}: a condition must compare with a text, a number, true or false")


def _check_value(operator: str, text: str, where: str) -> None:
    if len(text) > _MAX_TEXT:
        raise PolicyInvalid(f"{where} must have at most {_MAX_TEXT} characters")
    try:
        OPERATORS[operator](text)
    except ValueError:
        kind = operator.removesuffix("Equals").removesuffix("Not")
        raise PolicyInvalid(f"{where} must compare with a value for {kind}, got {text!r:.80}") from None


def segments(arn: str) -> list[str]:
    """The six parts of an ARN, or fewer of what is none. Colons in variables separate nothing."""
    parts: list[str] = []
    start = depth = 0
    for place, char in enumerate(arn):
        if char == "{" and arn[place - 1 : place] == "$":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == ":" and not depth and len(parts) < 5:
            parts.append(arn[start:place])
            start = place + 1
    return [*parts, arn[start:]]


def as_boolean(text: str) -> bool:
    """`true` or `false`, in any case."""
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def as_number(text: str) -> Decimal:
    """A whole or decimal number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", text):
        raise ValueError
    return Decimal(text)


def as_time(text: str) -> float:
    """Seconds since 1970, from these or from a time in ISO 8601."""
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", text):
        return float(text)
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def as_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network, or one address."""
    return ipaddress.ip_network(text, strict=False)


def as_arn(text: str) -> list[str]:
    """The parts of a pattern of ARNs."""
    return segments(text)


def as_bytes(text: str) -> bytes:
    """What base64 means."""
    return base64.b64decode(text, validate=True)


_COMPARISONS = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
OPERATORS: dict[str, Callable[[str], object]] = {  # operator -> what reads its values
    **{f"String{each}": str for each in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase")},
    **{f"String{each}": str for each in ("Like", "NotLike")},
    **{f"Numeric{each}": as_number for each in _COMPARISONS},
    **{f"Date{each}": as_time for each in _COMPARISONS},
    **{f"Arn{each}": as_arn for each in ("Equals", "NotEquals", "Like", "NotLike")},
    "Bool": as_boolean,
    "BinaryEquals": as_bytes,
    "IpAddress": as_network,
    "NotIpAddress": as_network,
    "Null": as_boolean,
}
