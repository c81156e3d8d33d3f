"""Messages as code that sends them again: for a shell, for the Python API, for boto3. Whatever stands in a message is
quoted, so that it is data and never a part of the code; what cannot stand in code well is read from a file."""

from __future__ import annotations

import ast
import json
import shlex
from dataclasses import dataclass
from typing import Any

from rqsqs._base_message import BaseMessage
from rqsqs._text import jsonable, printable

from .bodies import body_type, record_of

LONGEST = 16_384  # characters of a body, or of all attributes, that stand in code


@dataclass(frozen=True, slots=True)
class Copy:
    """Code.

    Attributes:
        code: as it is.
        file: whether it reads the file of the message.
        note: what is to be known, or "".
    """

    code: str
    file: bool = False
    note: str = ""


def file_name(message: BaseMessage) -> str:
    """The name of the file of a message: JSON Lines, as `rqsqs send --file` reads it."""
    return f"{message.message_id}.jsonl"


def as_line(message: BaseMessage) -> str:
    """The message in that file."""
    return json.dumps(record_of(message), default=jsonable) + "\n"


def shell(message: BaseMessage, queue: str, record: dict[str, Any] | None = None) -> Copy:
    """A call of `rqsqs send`; `record` is that of record_of(), if it was made already."""
    body, kind = message.body, body_type(message.body)
    record = record_of(message) if record is None else record
    is_plain = kind == "text" or (kind == "object" and "body_msgpack" not in record)
    text = body if kind == "text" else json.dumps(body) if is_plain else ""
    attributes = message.attributes
    texts = {name: value for name, value in attributes.items() if isinstance(value, str) and "=" not in name}
    if (
        not is_plain
        or "trace_context" in record
        or len(texts) != len(attributes)
        or not _fits(text, message.group or "", message.deduplication_id or "", *texts, *texts.values())
    ):
        return Copy(shlex.join(["rqsqs", "send", queue, "--file", file_name(message)]), file=True)
    words = ["rqsqs", "send", queue, "--as", "json" if kind == "object" else "text"]
    if message.group is not None:
        words.append(f"--group={message.group}")
    if message.deduplication_id is not None:
        words.append(f"--deduplication-id={message.deduplication_id}")
    words += [f"--attribute={name}={value}" for name, value in texts.items()]
    if text == "-":  # alone it is the name of standard input
        return Copy(f"printf %s - | {shlex.join([*words, '-'])}")
    return Copy(shlex.join([*words, "--", text]))


def python(message: BaseMessage, queue: str, record: dict[str, Any] | None = None) -> Copy:
    """A call of Queue.send(); `record` as for shell()."""
    record = record_of(message) if record is None else record
    options: dict[str, Any] = {
        "group": message.group,
        "deduplication_id": message.deduplication_id,
        "attributes": message.attributes or None,
        "trace_context": record.get("trace_context"),
    }
    lines = ["import rqsqs", "", f"queue = rqsqs.connect().queue({queue!r})"]
    given = "".join(f",\n    {name}={value!r}" for name, value in options.items() if value is not None)
    body = message.body
    if _fits(repr(body)) and _is_literal(body):
        return Copy("\n".join([*lines, f"queue.send(\n    {body!r}{given},\n)", ""]))
    read = f"line = json.loads(pathlib.Path({file_name(message)!r}).read_text())"
    kind = body_type(body)
    if kind == "bytes":
        lines[0], source = (
            "import base64\nimport json\nimport pathlib\n\nimport rqsqs",
            "base64.b64decode(line['body_base64'])",
        )
    elif kind == "text" or "body_msgpack" not in record:
        lines[0], source = "import json\nimport pathlib\n\nimport rqsqs", "line['body']"
    else:
        lines[0] = "import base64\nimport json\nimport pathlib\n\nimport msgpack\n\nimport rqsqs"
        source = "msgpack.unpackb(base64.b64decode(line['body_msgpack']), strict_map_key=False)"
    return Copy("\n".join([*lines, read, f"queue.send(\n    {source}{given},\n)", ""]), file=True)


def boto3(message: BaseMessage, queue: str) -> Copy:
    """A call of SendMessage, with what a client of SQS receives."""
    delivery = message._delivery
    kind, text = body_type(message.body), delivery.text()
    attributes = {name: _sqs_attribute(*pair) for name, pair in delivery.attributes.items()}
    options: dict[str, Any] = {"MessageAttributes": attributes} if attributes else {}
    if message.group is not None:
        options["MessageGroupId"] = message.group
    if message.deduplication_id is not None and message.sequence_number is not None:
        options["MessageDeduplicationId"] = message.deduplication_id
    if delivery.trace_header is not None:
        value = {"DataType": "String", "StringValue": delivery.trace_header}
        options["MessageSystemAttributes"] = {"AWSTraceHeader": value}
    notes = {"object": "the object is sent as JSON", "bytes": "the bytes are sent as base64"}
    note = f"SQS knows text only: {notes[kind]}." if kind in notes else ""
    given = "".join(f"\n    {name}={value!r}," for name, value in options.items())
    by_file = not _fits(repr(text))
    head = ["import json", "import pathlib", ""] if by_file else []
    line = f"json.loads(pathlib.Path({file_name(message)!r}).read_text())"
    of_file = {
        "text": f"{line}['body']",
        "bytes": f"{line}['body_base64']",
        "object": f"json.dumps({line}['body'], ensure_ascii=False, separators=(',', ':'))",
    }
    source = of_file[kind] if by_file else repr(text)
    code = "\n".join(
        [
            *head,
            "from rqsqs import boto3  # or: import boto3",
            "",
            'sqs = boto3.client("sqs")',
            f"url = sqs.get_queue_url(QueueName={queue!r})['QueueUrl']",
            f"sqs.send_message(\n    QueueUrl=url,\n    MessageBody={source},{given}\n)",
            "",
        ]
    )
    return Copy(code, file=by_file, note=note)


def _sqs_attribute(data_type: str, value: str | bytes) -> dict[str, Any]:
    return {"DataType": data_type, "BinaryValue" if isinstance(value, bytes) else "StringValue": value}


def _is_literal(body: Any) -> bool:
    """Does Python's notation of it mean the same?"""
    try:
        return bool(ast.literal_eval(repr(body)) == body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def _fits(*texts: object) -> bool:
    """Can they stand in code that people copy? Not if they are long, or hold what a terminal or an editor hides."""
    found = [str(text) for text in texts]
    visible = [text.replace("\n", "") for text in found]
    return sum(map(len, found)) <= LONGEST and all(printable(text) == text for text in visible)
