"""SQS as Amazon spells it, without I/O: the actions, their rules, their texts."""

from __future__ import annotations

from .actions import ACTIONS, SQS, perform
from .context import Context
from .error_responses import Failed, describe
from .service import Service

__all__ = ["ACTIONS", "SQS", "Context", "Failed", "Service", "describe", "perform"]
