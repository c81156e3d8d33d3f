"""Which targets (rqsqs/_action_targets.py) an actions file allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rqsqs._action_targets import Command, Target, Topic, Webhook, address_in, parse_target, short
from rqsqs._text import did_you_mean, printable
from rqsqs.errors import InvalidParameterValue

from .addresses import why_refused

if TYPE_CHECKING:
    from .configuration import ActionsConfig


def check_target(text: str, config: ActionsConfig | None = None) -> Target:
    """Check a target before it is stored. Names are not resolved, and nothing is connected to.

    Args:
        text: the target.
        config: by which it will be done; None = not known here, so only its form is checked.

    Returns:
        What it stands for: that of a topic is the one the configuration has.

    Raises:
        InvalidParameterValue: it is no target, or the configuration does not allow it.
    """
    target = parse_target(text)
    return target if config is None else allowed_target(target, config)


def allowed_target(target: Target, config: ActionsConfig) -> Target:
    """The target that a configuration allows, of a topic that it stands for.

    Raises:
        InvalidParameterValue: it is not allowed.
    """
    if isinstance(target, Topic):
        if target.arn not in config.topics:
            raise InvalidParameterValue(
                f"a topic must be in [topics] of {config.name}, got {short(target.arn)}: "
                f'add a line such as "{printable(target.arn)[:300]}" = "https://..."'
            )
        return allowed_target(config.topics[target.arn], config)
    if isinstance(target, Command) and target.name not in config.commands:
        near = did_you_mean(target.name, config.commands)
        raise InvalidParameterValue(
            f"a command must be in {config.name} as [commands.NAME], got {short(target.name)}{near}"
        )
    if isinstance(target, Webhook):
        host = config.host(target)
        if config.listed_only and host is None:
            raise InvalidParameterValue(
                f"the host of a webhook must be in {config.name} as [[webhooks]], since listed_only is set there, "
                f"got {short(target.authority)}"
            )
        address = address_in(target.host)
        if address and (reason := why_refused(address, host.networks if host else ())):
            raise InvalidParameterValue(refusal(target, reason, config))
    return target


def refusal(target: Webhook, reason: str, config: ActionsConfig) -> str:
    """Why a webhook is not called, and the way out."""
    return (
        f"a webhook must go to an address of the internet, got {target.host} ({reason}): an operator can allow it in "
        f'{config.name} with [[webhooks]] host = "{target.authority}" and networks = [...]'
    )
