"""Names of queues as arguments: they complete in the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import rqsqs
from rqsqs._text import printable
from rqsqs.cli.settings import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE_S = 0.5  # a shell waits for the answer
AT_MOST = 200


class QueueName(click.ParamType):  # type: ignore[type-arg]
    """A queue by name; the connection checks it."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that begin so; none if the server does not answer at once."""
        from click.shell_completion import CompletionItem

        settings = ctx.find_object(Settings) or Settings()
        taken = set(ctx.params.get(param.name or "") or ()) if param.nargs == -1 else set()
        try:
            if settings.server.startswith("embedded:"):
                from rqsqs import embedded

                folder = embedded.parse_url(settings.server).folder
                if folder is None or not folder.is_dir():
                    return []  # and makes none
            with rqsqs.connect(
                settings.server, prefix=settings.prefix, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
            ) as connection:
                names = (queue.name for queue in connection.queues(incomplete) if printable(queue.name) == queue.name)
                found = [CompletionItem(name) for name, _ in zip(names, range(AT_MOST), strict=False)]
        except Exception:  # nothing that would show up in the middle of somebody's command line
            return []
        return [item for item in found if item.value not in taken]


QUEUE = QueueName()
