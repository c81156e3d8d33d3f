"""Conditions of policies: what their operators mean.

A test gets the values of its key: none if the request has no such key, several for aws:TagKeys and
cloudwatch:AlarmActions. A key that is not there makes a positive operator false and a negated one true, so that a Deny
with a negated operator bites.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from rqsqs.sqs.policy_documents import OPERATORS, Condition, segments

from .wildcards import Lookup, Pattern

Values = Sequence[str] | None  # of a condition key; None if there is no such key
Test = Callable[[Values, Lookup], bool]
_ValueTest = Callable[[str, Lookup], bool | None]  # does one value of the request match?

_NEGATED = ("StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "NumericNotEquals", "DateNotEquals",
            "ArnNotEquals", "ArnNotLike", "NotIpAddress")  # fmt: skip
_SINGLE_VALUED_ONLY = "aws:tagkeys"


def compile_condition(condition: Condition, *, has_variables: bool) -> tuple[Test, frozenset[str]]:
    """What tests a condition, and the keys that it looks at."""
    if condition.operator == "Null":
        wanted_absent = {text.lower() == "true" for text in condition.values}
        return lambda values, _: (values is None) in wanted_absent, frozenset({condition.key})
    is_negated = condition.operator in _NEGATED
    tests, keys = _value_tests(condition, has_variables)
    test = _over_all_values(condition, tests, is_negated)
    if condition.if_exists:
        plain = test
        test = lambda values, lookup: values is None or plain(values, lookup)  # noqa: E731
    return test, keys | {condition.key}


def _over_all_values(condition: Condition, tests: list[_ValueTest], is_negated: bool) -> Test:
    """How the values of the request and those of the policy are taken together."""

    def holds(value: str, lookup: Lookup) -> bool:
        # A variable that stands for nothing gives None, which is no match.
        matched = any([matches(value, lookup) for matches in tests])
        return matched != is_negated

    if condition.set_operator == "ForAllValues":
        return lambda values, lookup: all(holds(value, lookup) for value in values or ())
    if condition.set_operator == "ForAnyValue":
        return lambda values, lookup: any(holds(value, lookup) for value in values or ())

    def single(values: Values, lookup: Lookup) -> bool:
        if values is None:
            return is_negated
        return len(values) == 1 and condition.key != _SINGLE_VALUED_ONLY and holds(values[0], lookup)

    return single


def _value_tests(condition: Condition, has_variables: bool) -> tuple[list[_ValueTest], frozenset[str]]:
    """One test for each value of the policy, and the keys of variables."""
    operator = condition.operator
    if operator.startswith("String"):
        patterns = [
            Pattern(
                text,
                has_variables=has_variables,
                has_wildcards=operator.endswith("Like"),
                ignores_case=operator.endswith("IgnoreCase"),
            )
            for text in condition.values
        ]
        keys = frozenset(variable.key for pattern in patterns for variable in pattern.variables)
        return [pattern.matches for pattern in patterns], keys
    if operator.startswith("Arn"):
        arns = [ArnPattern(text, has_variables=has_variables) for text in condition.values]
        return [arn.matches for arn in arns], frozenset().union(*(arn.keys for arn in arns))
    read = OPERATORS[operator]
    compare = _COMPARE.get(operator.replace("Numeric", "").replace("Date", ""), lambda ours, theirs: ours == theirs)
    return [_comparison(read, compare, read(text)) for text in condition.values], frozenset()


def _comparison(read: Callable[[str], Any], compare: Callable[[Any, Any], bool], ours: Any) -> _ValueTest:
    """A test against one value; what cannot be read matches nothing."""
    if isinstance(ours, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return lambda value, _: _is_in(value, ours)

    def matches(value: str, _: Lookup) -> bool:
        try:
            return compare(read(value), ours)
        except ValueError:
            return False

    return matches


def _is_in(value: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped and network.version == 4:
        address = address.ipv4_mapped
    return address in network


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "LessThan": lambda theirs, ours: theirs < ours,
    "LessThanEquals": lambda theirs, ours: theirs <= ours,
    "GreaterThan": lambda theirs, ours: theirs > ours,
    "GreaterThanEquals": lambda theirs, ours: theirs >= ours,
}


class ArnPattern:
    """A pattern of ARNs: no wildcard reaches beyond a colon, but for those in the last of the six parts.

    Attributes:
        keys: condition keys of the variables in it.
    """

    __slots__ = ("_parts", "keys")

    def __init__(self, text: str, *, has_variables: bool) -> None:
        parts = segments(text)
        self._parts = [Pattern(part, has_variables=has_variables) for part in parts] if len(parts) == 6 else None
        self.keys = frozenset(variable.key for part in self._parts or () for variable in part.variables)

    def matches(self, arn: str, lookup: Lookup) -> bool | None:
        """Whether an ARN is one of those; None if a variable stands for nothing."""
        parts = arn.split(":", 5)
        if self._parts is None or len(parts) != 6:
            return False
        result: bool | None = True
        for pattern, part in zip(self._parts, parts, strict=True):
            matched = pattern.matches(part, lookup)
            if matched is False:
                return False
            if matched is None:
                result = None
        return result
