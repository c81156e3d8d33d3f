"""The console: a page to look into queues, and to do what has to be done there. `rqsqs gateway` serves it below
`/console/`, `rqsqs console` by itself; `Console` can be mounted in another ASGI application."""

from .app import Console
from .settings import ConsoleSettings

__all__ = ["Console", "ConsoleSettings"]
