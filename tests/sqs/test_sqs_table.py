"""The action table and the errors against the service model of botocore."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("boto3")

import botocore.loaders
import botocore.model

import rqsqs.gateway.refusals  # noqa: F401 - its errors are among them
from rqsqs import errors
from rqsqs.cloudwatch import errors as of_cloudwatch
from rqsqs.sqs import ACTIONS, SQS, describe
from rqsqs.sqs import attributes as qa
from rqsqs.sqs.error_responses import batch_entry, too_large
from rqsqs.sqs.permissions import GRANTABLE, OWNER_ONLY


@pytest.fixture(scope="module")
def model() -> Any:
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sqs", "service-2"), "sqs")


def request_errors(cls: type[errors.RequestError] = errors.RequestError) -> list[type[errors.RequestError]]:
    """Those that SQS can answer with."""
    theirs = {getattr(of_cloudwatch, name) for name in of_cloudwatch.__all__} - {
        errors.InvalidParameterValue,
        errors.MissingParameter,
    }
    return [*({cls} - theirs), *(each for sub in cls.__subclasses__() for each in request_errors(sub))]


def test_there_is_a_function_for_every_action(model: Any) -> None:
    assert set(ACTIONS) == set(model.operation_names)


def test_every_attribute_of_the_model_is_known(model: Any) -> None:
    assert {*qa.READABLE, "All"} == set(model.shape_for("QueueAttributeName").enum)


def test_every_action_can_be_granted_or_belongs_to_the_owner(model: Any) -> None:
    single = {name for name in model.operation_names if not name.endswith("Batch")}
    assert single == (GRANTABLE - {"*"}) | OWNER_ONLY


@pytest.mark.parametrize("cls", request_errors(), ids=lambda cls: cls.__name__)
def test_every_error_is_modelled_or_known_not_to_be(model: Any, cls: type[errors.RequestError]) -> None:
    failed = describe(cls("text"))
    is_in_model = failed.shape in {shape.name for shape in model.error_shapes}
    assert failed.is_modelled == is_in_model
    assert failed.fault == ("Sender" if cls.sender_fault else "Receiver")
    assert failed.query_error == f"{failed.code};{failed.fault}"
    namespace = "com.amazonaws.sqs" if is_in_model else "com.amazon.coral.service"
    key = "Message" if failed.shape == "AccessDeniedException" else "message"
    assert failed.body(SQS) == {"__type": f"{namespace}#{failed.shape}", key: "text"}


def test_the_server_is_to_blame_for_its_own_trouble() -> None:
    for error in (errors.ServerLoading("loading"), ValueError("odd")):
        failed = describe(error)
        assert (failed.status, failed.code, failed.shape, failed.fault) == (
            500, "InternalError", "InternalFailure", "Receiver",
        )  # fmt: skip
    assert batch_entry("a", errors.ServerLoading("loading")) == {
        "Id": "a",
        "Code": "InternalError",
        "Message": "loading",
        "SenderFault": False,
    }


def test_an_expired_receipt_handle_has_another_code_in_a_batch() -> None:
    assert batch_entry("a", errors.ReceiptHandleExpired("x")) == {
        "Id": "a",
        "Code": "ReceiptHandleIsInvalid",
        "Message": "The receipt handle has expired",
        "SenderFault": True,
    }


def test_a_message_too_large_is_worded_by_the_kind_of_call() -> None:
    error = errors.MessageTooLarge("x", detail="1024")
    assert too_large(error, in_batch=False).sqs_message == (
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
    )
    assert too_large(error, in_batch=True).sqs_message == (
        "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."
    )
