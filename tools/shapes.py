"""Make shapes.py and cloudwatch_shapes.py in rqsqs/gateway/protocols: what requests and responses are built of.

    python tools/shapes.py            writes the files
    python tools/shapes.py --check    says whether they are up to date

They come from the service models of the botocore that is installed, which describe the JSON protocol. The names of
SQS's Query protocol are not in there since botocore 1.31.81; the few that cannot be told from the shapes are below, as
they were in 1.31.80. CloudWatch, of which only the actions of rqsqs are written, names items as that protocol does by
itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import botocore.session

FOLDER = Path(__file__).parents[1] / "rqsqs" / "gateway" / "protocols"
OF_CLOUDWATCH = (
    "DeleteAlarms", "DescribeAlarmHistory", "DescribeAlarms", "DescribeAlarmsForMetric", "DisableAlarmActions",
    "EnableAlarmActions", "GetMetricData", "GetMetricStatistics", "ListMetrics", "ListTagsForResource",
    "PutCompositeAlarm", "PutMetricAlarm", "SetAlarmState", "TagResource", "UntagResource",
)  # fmt: skip
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
SCALARS = {
    "string": "STRING",
    "integer": "INTEGER",
    "long": "INTEGER",
    "boolean": "BOOLEAN",
    "blob": "BLOB",
    "double": "DOUBLE",
    "timestamp": "TIMESTAMP",
}
HEADER = '''"""The actions of {title}. Made by tools/shapes.py: do not edit.{why_long}"""

from __future__ import annotations

from rqsqs.gateway.protocols.model import Action, List, Map, Scalar, Structure

{scalars}

'''


def generated() -> dict[Path, str]:
    """The texts of the files."""
    session = botocore.session.get_session()
    sqs, cloudwatch = session.get_service_model("sqs"), session.get_service_model("cloudwatch")
    scalars = "STRING, INTEGER, BOOLEAN, {0} = Scalar.STRING, Scalar.INTEGER, Scalar.BOOLEAN, {1}"
    return {
        FOLDER / "shapes.py": HEADER.format(title="SQS", why_long="", scalars=scalars.format("BLOB", "Scalar.BLOB"))
        + _actions(sqs, sorted(sqs.operation_names)),
        FOLDER / "cloudwatch_shapes.py": HEADER.format(
            title="CloudWatch that rqsqs has",
            why_long="\n\nThe module is long, as alarms have many attributes.\n",
            scalars=scalars.format("DOUBLE", "Scalar.DOUBLE") + "\nTIMESTAMP = Scalar.TIMESTAMP",
        )
        + _actions(cloudwatch, OF_CLOUDWATCH),
    }


def _actions(model: Any, names: Iterable[str]) -> str:
    nested: dict[str, list[str]] = {}
    lines = ["ACTIONS: dict[str, Action] = {"]
    for name in names:
        operation = model.operation_model(name)
        output = operation.output_shape
        lines += [
            f'    "{name}": Action(',
            *_structure(operation.input_shape, nested, 8, ","),
            *(_structure(output, nested, 8, ",") if output is not None else ["        None,"]),
            "    ),",
        ]
    constants = [line for text in nested.values() for line in text]
    return "\n".join([*constants, "", *lines, "}", ""])


def _structure(shape: Any, nested: dict[str, list[str]], indent: int, end: str, start: str = "") -> list[str]:
    """The lines of a structure."""
    if not shape.members:
        return [f"{' ' * indent}{start}Structure({{}}){end}"]
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
    if kind == "list" and not _is_flat(shape):
        return f'List("member", {_shape(shape.member, nested)}, is_wrapped=True)'
    if kind == "map" and shape.name not in MAPS:
        return f'Map("entry", "key", "value", {_shape(shape.value, nested)}, is_wrapped=True)'
    if kind == "list":
        name = ITEMS.get(shape.name) or shape.member.name
        return f'List("{name}", {_shape(shape.member, nested)})'
    if kind == "map":
        words = ", ".join(f'"{word}"' for word in MAPS[shape.name])
        return f"Map({words}, {_shape(shape.value, nested)})"
    return SCALARS[kind]


def _is_flat(shape: Any) -> bool:
    """Whether the Query protocol has the items of a list beside other members, as SQS has all."""
    return bool(shape.serialization.get("flattened"))


def main() -> int:
    """Write or compare."""
    result = 0
    for path, text in generated().items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            print(f"{path} is not what tools/shapes.py makes: run it", file=sys.stderr)
            result = 1
    return result


if __name__ == "__main__":
    sys.exit(main())
