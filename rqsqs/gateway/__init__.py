"""SQS over HTTP: requests of any AWS SDK, signed and authorised, answered from Redis or Valkey."""

from __future__ import annotations

from .app import Gateway
from .settings import GatewaySettings

__all__ = ["Gateway", "GatewaySettings"]
