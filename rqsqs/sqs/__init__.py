"""SQS as Amazon spells it, without I/O: the actions, their rules, their texts."""

from __future__ import annotations

from .actions import ACTIONS, perform
from .context import Context
from .error_responses import Failed, describe

__all__ = ["ACTIONS", "Context", "Failed", "describe", "perform"]
