"""Queues that a file describes, created when the gateway starts: `rqsqs gateway --queues queues.toml`.

    [queues.failed]

    [queues.orders]
    VisibilityTimeout = 60
    RedrivePolicy = { deadLetterTargetArn = "failed", maxReceiveCount = 3 }
    tags = { team = "shop" }

    [queues."invoices.fifo"]
    ContentBasedDeduplication = true

or the same in YAML. Attributes have SQS's names; a dead-letter queue may be named instead of its ARN. A queue that
exists with other values gets these. Its messages stay as they are, and so do queues that the file does not name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from rqsqs._io.sync.runner import Transport
from rqsqs.errors import QueueNameExists, RequestError, UsageError
from rqsqs.sqs import Context, perform
from rqsqs.sqs.names import is_queue_name

from .settings import GatewaySettings

Queues = dict[str, dict[str, Any]]


def read(path: Path) -> Queues:
    """The queues of a file: by name, what CreateQueue is to be asked.

    Raises:
        UsageError: it cannot be read, or is not as above.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as e:
        raise UsageError(f"{path}: {getattr(e, 'strerror', None) or 'it is no UTF-8 text'}") from None
    try:
        document = _yaml(text, path) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"{path} must be TOML, or YAML in a file that ends in .yaml: {e}") from None
    queues = document.get("queues") if isinstance(document, dict) else None
    if isinstance(queues, list) and all(isinstance(each, str) for each in queues):
        queues = dict.fromkeys(queues, None)
    if not isinstance(queues, dict) or set(document) != {"queues"}:
        raise UsageError(f"{path} must have the table `queues` and nothing beside it, such as [queues.orders]")
    return {str(name): _request(str(name), entry or {}, path) for name, entry in queues.items()}


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path}: YAML needs a package: pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise UsageError(f"{path} must be YAML: {' '.join(str(e).split())}") from None


def _request(name: str, entry: Any, path: Path) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: the queue {name} must have a table of attributes, got {entry!r:.80}")
    attributes = {key: _text(key, value, name, path) for key, value in entry.items() if key != "tags"}
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    tags = entry.get("tags") or {}
    if not isinstance(tags, dict) or not all(isinstance(each, str) for each in tags.values()):
        raise UsageError(f"{path}: the tags of {name} must be texts by name, got {tags!r:.80}")
    return {"QueueName": name, "Attributes": attributes, "tags": tags}


def _text(key: Any, value: Any, name: str, path: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            pass
    raise UsageError(f"{path}: {key} of the queue {name} must be a text, a number, true or false, got {value!r:.80}")


def create(queues: Queues, settings: GatewaySettings, path: Path) -> None:
    """Create the queues, dead-letter queues before those that name them.

    Raises:
        UsageError: SQS would refuse one of them.
    """
    transport = Transport(settings.url, settings.prefix, **settings.options)
    context = Context(transport.space, settings.region, limits=settings.limits)
    try:
        for name in _in_order(queues, path):
            try:
                _create(transport, context, _with_arns(queues[name], context))
            except RequestError as e:
                raise UsageError(f"{path}: the queue {name} cannot be created: {e}") from None
    finally:
        transport.close()


def _in_order(queues: Queues, path: Path) -> list[str]:
    """The names, each behind that of its dead-letter queue."""
    targets = {name: str(_redrive_policy(queues[name]).get("deadLetterTargetArn")) for name in queues}
    before = {name: {target.rpartition(":")[2]} & queues.keys() for name, target in targets.items()}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as e:
        circle = " -> ".join(reversed(e.args[1]))
        raise UsageError(f"{path}: dead letters must not go in a circle, got {circle}") from None


def _redrive_policy(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the RedrivePolicy says; nothing if there is none, or something else, which CreateQueue refuses."""
    try:
        policy = json.loads(request["Attributes"].get("RedrivePolicy", "{}"))
    except ValueError:
        return {}
    return policy if isinstance(policy, dict) else {}


def _with_arns(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    attributes, policy = dict(request["Attributes"]), _redrive_policy(request)
    target = policy.get("deadLetterTargetArn")
    if isinstance(target, str) and is_queue_name(target):
        attributes["RedrivePolicy"] = json.dumps({**policy, "deadLetterTargetArn": context.arn_of(target)})
    return {**request, "Attributes": attributes}


def _create(transport: Transport, context: Context, request: dict[str, Any]) -> None:
    try:
        transport.run(perform(context, "CreateQueue", request))
    except QueueNameExists:
        changes = {name: value for name, value in request["Attributes"].items() if name != "FifoQueue"}
        url = context.url_of(request["QueueName"])
        if changes:
            transport.run(perform(context, "SetQueueAttributes", {"QueueUrl": url, "Attributes": changes}))
        if request["tags"]:
            transport.run(perform(context, "TagQueue", {"QueueUrl": url, "Tags": request["tags"]}))
