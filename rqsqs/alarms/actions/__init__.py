"""What is done when an alarm changes its state, or an event matches a rule: actions.

An action has a target, such as a URL or `command:page` (targets.py), and a notification (notifications.py). `Actions`
(runner.py) does it and says what became of it. Nothing here knows where actions wait to be done.
"""

from rqsqs._action_targets import Target, parse_target
from rqsqs.alarms.actions.configuration import ActionsConfig, ActionsFile, ActionsFileInvalid, read
from rqsqs.alarms.actions.notifications import Notification, PendingAction
from rqsqs.alarms.actions.retries import Done, Failed, GivenUp, Outcome
from rqsqs.alarms.actions.runner import Actions
from rqsqs.alarms.actions.targets import check_target

__all__ = [
    "Actions",
    "ActionsConfig",
    "ActionsFile",
    "ActionsFileInvalid",
    "Done",
    "Failed",
    "GivenUp",
    "Notification",
    "Outcome",
    "PendingAction",
    "Target",
    "check_target",
    "parse_target",
    "read",
]
