"""CloudWatch as Amazon spells it, without I/O, for the metrics and alarms of queues: its actions, rules and texts."""

from __future__ import annotations

from .actions import ACTIONS, CLOUDWATCH, perform

__all__ = ["ACTIONS", "CLOUDWATCH", "perform"]
