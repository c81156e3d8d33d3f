"""TagResource, UntagResource, ListTagsForResource: of alarms, as nothing else here has tags."""

from __future__ import annotations

from rqsqs import errors
from rqsqs._core.flows import alarms as flows
from rqsqs._core.operation import Flow
from rqsqs.sqs.context import Context, Params, ResponseFlow
from rqsqs.sqs.names import parse_arn

from .alarm_answers import alarm_arn
from .constraints import check, in_their_words, shown
from .errors import InvalidParameterValue, TaggedResourceNotFound

_PREFIX = "alarm:"


def tag_resource(ctx: Context, params: Params) -> ResponseFlow:
    """TagResource: tags of other keys stay."""
    params = check("TagResource", params)
    yield from _change(ctx, params["ResourceARN"], tags_of(params["Tags"]), [])
    return {}


def untag_resource(ctx: Context, params: Params) -> ResponseFlow:
    """UntagResource: keys that the alarm does not have are passed by."""
    params = check("UntagResource", params)
    yield from _change(ctx, params["ResourceARN"], {}, params["TagKeys"])
    return {}


def list_tags_for_resource(ctx: Context, params: Params) -> ResponseFlow:
    """ListTagsForResource."""
    arn = check("ListTagsForResource", params)["ResourceARN"]
    name = _alarm_of(ctx, arn)
    known = (yield from flows.read_named(ctx.space, [name])).get(name)
    if known is None:
        raise _not_found(arn)
    tags = flows.info(known).alarm.tags
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def tags_of(given: list[dict[str, str]]) -> dict[str, str]:
    """Check tags that are to be set.

    Raises:
        InvalidParameterValue: a key is there twice, or reserved.
    """
    tags = {tag["Key"]: tag["Value"] for tag in given}
    if len(tags) < len(given):
        raise InvalidParameterValue("Each of Tags must have another Key.")
    if any(key.lower().startswith("aws:") for key in tags):
        raise InvalidParameterValue("Tag keys cannot start with aws:, which is reserved for AWS use.")
    return tags


def _change(ctx: Context, arn: str, tags: dict[str, str], removed: list[str]) -> Flow[None]:
    name = _alarm_of(ctx, arn)
    try:
        yield from flows.change_tags(ctx.space, name, tags, removed)
    except errors.ResourceNotFound:
        raise _not_found(arn) from None
    except errors.InvalidParameterValue as error:
        raise InvalidParameterValue(in_their_words(error)) from None


def _alarm_of(ctx: Context, arn: str) -> str:
    """The name of the alarm that an ARN means."""
    parts = parse_arn(arn)
    if parts is None or parts.service != "cloudwatch" or not parts.name.startswith(_PREFIX):
        rule = "ResourceARN must be that of an alarm, arn:PARTITION:cloudwatch:REGION:ACCOUNT:alarm:NAME"
        raise InvalidParameterValue(f"{rule}: nothing else has tags here, got {shown(arn)}.")
    name = parts.name.removeprefix(_PREFIX)
    if not name or arn != alarm_arn(ctx, name):
        raise _not_found(arn)
    return name


def _not_found(arn: str) -> TaggedResourceNotFound:
    return TaggedResourceNotFound(f"There is no alarm with the ARN {shown(arn)}.")
