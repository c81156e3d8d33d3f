"""The state of composite alarms, by their rules and the states of others. No I/O is here.

Rules are read in rqsqs/_alarm_rules.py, as an alarm checks its rule when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from rqsqs._alarm_rules import Child, parse, references
from rqsqs.alarm_models import StateValue


def state_of(rule: str, states: Mapping[str, StateValue]) -> StateValue:
    """ALARM if the rule is true, else OK.

    Args:
        states: of alarms by their names. One that is not among them is INSUFFICIENT_DATA.
    """
    stack: list[bool] = []
    for step in parse(rule):
        if isinstance(step, Child):
            stack.append(states.get(step.name, "INSUFFICIENT_DATA") == step.state)
        elif isinstance(step, bool):
            stack.append(step)
        elif step == "NOT":
            stack.append(not stack.pop())
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(left and right if step == "AND" else left or right)
    return "ALARM" if stack.pop() else "OK"


def evaluation_order(rules: Mapping[str, str]) -> list[str]:
    """Composite alarms, each behind those that its rule names. Those in cycles, and those that depend on
    these, are left out.

    Args:
        rules: of composite alarms by their names.
    """
    children = {name: [one for one in references(rule) if one in rules] for name, rule in rules.items()}
    parents: dict[str, list[str]] = {name: [] for name in rules}
    for name, found in children.items():
        for child in found:
            parents[child].append(name)
    waits = {name: len(found) for name, found in children.items()}
    ready = [name for name, count in waits.items() if not count]
    for name in ready:  # grows
        for parent in parents[name]:
            waits[parent] -= 1
            if not waits[parent]:
                ready.append(parent)
    return ready
