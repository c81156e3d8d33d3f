"""Make rqsqs/gateway/protocols/shapes.py: what requests and responses of SQS are built of.

    python tools/shapes.py            writes the file
    python tools/shapes.py --check    says whether it is up to date

It comes from the service model of the botocore that is installed, which describes the JSON protocol. The names of the
Query protocol are not in there since botocore 1.31.81; the few that cannot be told from the shapes are below, as they
were in 1.31.80.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import botocore.session

TARGET = Path(__file__).parents[1] / "rqsqs" / "gateway" / "protocols" / "shapes.py"
ITEMS = {  # lists of structures have the names of these
    "AWSAccountIdList": "AWSAccountId",
    "ActionNameList": "ActionName",
    "AttributeNameList": "AttributeName",
    "BinaryList": "BinaryListValue",
    "MessageAttributeNameList": "MessageAttributeName",
    "MessageSystemAttributeList": "MessageSystemAttributeName",  # newer than the Query model: kombu sends it so
    "QueueUrlList": "QueueUrl",
    "StringList": "StringListValue",
    "TagKeyList": "TagKey",
}
MAPS = {
    "MessageBodyAttributeMap": ("MessageAttribute", "Name", "Value"),
    "MessageBodySystemAttributeMap": ("MessageSystemAttribute", "Name", "Value"),
    "MessageSystemAttributeMap": ("Attribute", "Name", "Value"),
    "QueueAttributeMap": ("Attribute", "Name", "Value"),
    "TagMap": ("Tag", "Key", "Value"),
}
SCALARS = {"string": "STRING", "integer": "INTEGER", "long": "INTEGER", "boolean": "BOOLEAN", "blob": "BLOB"}
HEADER = '''"""The actions of SQS. Made by tools/shapes.py: do not edit."""

from __future__ import annotations

from rqsqs.gateway.protocols.model import Action, List, Map, Scalar, Structure

STRING, INTEGER, BOOLEAN, BLOB = Scalar.STRING, Scalar.INTEGER, Scalar.BOOLEAN, Scalar.BLOB

'''


def generated() -> str:
    """The text of the file."""
    model = botocore.session.get_session().get_service_model("sqs")
    nested: dict[str, list[str]] = {}
    lines = ["ACTIONS: dict[str, Action] = {"]
    for name in sorted(model.operation_names):
        operation = model.operation_model(name)
        output = operation.output_shape
        lines += [
            f'    "{name}": Action(',
            *_structure(operation.input_shape, nested, 8, ","),
            *(_structure(output, nested, 8, ",") if output is not None and output.members else ["        None,"]),
            "    ),",
        ]
    constants = [line for text in nested.values() for line in text]
    return HEADER + "\n".join([*constants, "", *lines, "}", ""])


def _structure(shape: Any, nested: dict[str, list[str]], indent: int, end: str, start: str = "") -> list[str]:
    """The lines of a structure."""
    inner, outer = " " * (indent + 4), " " * indent
    members = [
        line
        for name, each in shape.members.items()
        for line in _wrapped(f'{inner}    "{name}": {_shape(each, nested)},')
    ]
    return [f"{outer}{start}Structure(", f"{inner}{{", *members, f"{inner}}}", f"{outer}){end}"]


def _wrapped(line: str) -> list[str]:
    """As the formatter has it."""
    if len(line) <= 120:
        return [line]
    front, _, rest = line.partition("(")
    indent = " " * (len(line) - len(line.lstrip()))
    return [f"{front}(", f"{indent}    {rest.removesuffix('),')}", f"{indent}),"]


def _shape(shape: Any, nested: dict[str, list[str]]) -> str:
    kind = shape.type_name
    if kind == "structure":
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", shape.name).upper()
        if name not in nested:
            nested[name] = _structure(shape, nested, 0, "", f"{name} = ")
            nested[name] = nested.pop(name)  # behind those that it needs
        return name
    if kind == "list":
        name = ITEMS.get(shape.name) or shape.member.name
        return f'List("{name}", {_shape(shape.member, nested)})'
    if kind == "map":
        words = ", ".join(f'"{word}"' for word in MAPS[shape.name])
        return f"Map({words}, {_shape(shape.value, nested)})"
    return SCALARS[kind]


def main() -> int:
    """Write or compare."""
    text = generated()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, "utf-8")
        return 0
    if TARGET.read_text("utf-8") == text:
        return 0
    print(f"{TARGET} is not what tools/shapes.py makes: run it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
