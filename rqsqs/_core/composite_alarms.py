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


def cycle_of(name: str, rules: Mapping[str, str]) -> tuple[str, ...]:
    """How a composite alarm comes back to itself, such as ("a", "b", "a"); empty if it does not.

    Args:
        rules: of composite alarms by their names, its own among them.
    """
    came: dict[str, str] = {}
    waiting = [name]
    while waiting:
        here = waiting.pop()
        for child in references(rules[here]) if here in rules else ():
            if child == name:
                path = [name, here]
                while path[-1] != name:
                    path.append(came[path[-1]])
                return tuple(reversed(path))
            if child not in came:
                came[child] = here
                waiting.append(child)
    return ()


def parents_of(name: str, rules: Mapping[str, str]) -> list[str]:
    """The composite alarms whose rules name an alarm, sorted. As long as there is one, it must not be deleted."""
    return sorted([parent for parent, rule in rules.items() if name in references(rule)])


def depends_on(changed: set[str], rules: Mapping[str, str]) -> list[str]:
    """The composite alarms that may change with others, in the order in which they are to be evaluated."""
    touched = set(changed)
    found = []
    for name in evaluation_order(rules):
        if touched.intersection(references(rules[name])):
            touched.add(name)
            found.append(name)
    return found
