"""The public names: all of them there, documented, typed, and seen as `rqsqs.X`."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest

import rqsqs
from rqsqs import aio

CLASSES = [c for n in rqsqs.__all__ if inspect.isclass(c := getattr(rqsqs, n))]
FACES = [rqsqs.Connection, rqsqs.Queue, rqsqs.Message, rqsqs.Entry, rqsqs.Sender]
METHODS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}") for cls in FACES for name in vars(cls) if name[0] != "_"
]


def test_all_names_what_can_be_imported() -> None:
    source = ast.parse(inspect.getsource(rqsqs))
    for_type_checkers = next(node for node in source.body if isinstance(node, ast.If))
    imported = {a.asname or a.name for n in for_type_checkers.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(rqsqs.__all__) == imported
    assert set(rqsqs.__all__) <= set(dir(rqsqs))
    assert all(hasattr(rqsqs, name) for name in rqsqs.__all__)
    assert list(rqsqs.__all__) == sorted(rqsqs.__all__, key=lambda name: (not name.isupper(), name.islower(), name))


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="module 'rqsqs' has no attribute 'Conection'") as caught:
        rqsqs.Conection  # type: ignore[attr-defined]  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("Conection", rqsqs)  # Python finds "Connection" by these


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_public_class_is_documented(cls: type) -> None:
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")  # what a dataclass writes by itself


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_public_classes_are_seen_as_members_of_the_package(cls: type) -> None:
    assert cls.__module__ == "rqsqs"


@pytest.mark.parametrize(("cls", "name"), METHODS)
def test_every_public_method_is_documented_and_typed(cls: type, name: str) -> None:
    member: Any = inspect.getattr_static(cls, name)
    if inspect.ismemberdescriptor(member):
        return
    function = member.fget if isinstance(member, property) else member
    assert function.__doc__
    assert function.__doc__.strip()[0].isupper() or function.__doc__.startswith("`")
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("api", [rqsqs, aio], ids=["sync", "aio"])
def test_every_argument_and_option_is_described_where_it_is_given(api: Any) -> None:
    """Also the options that are spelled in a TypedDict: help() shows them where they are used."""
    options = {"send": rqsqs.SendOptions, "create_queue": rqsqs.QueueSettings}
    for cls in (api.Connection, api.Queue, api.Message):
        for name, function in inspect.getmembers(cls, inspect.isfunction):
            if name[0] == "_":
                continue
            signature = inspect.signature(function)
            wanted = {p.name for p in list(signature.parameters.values())[1:] if p.kind is not p.VAR_KEYWORD}
            wanted |= getattr(options.get(name), "__annotations__", {}).keys()
            assert wanted <= set(re.findall(r"^ {4}(\w+): ", inspect.getdoc(function) or "", re.MULTILINE)), (cls, name)
            returns = str(signature.return_annotation)
            if returns != "None" and name not in ("queues", "messages", "events", "statistics"):
                assert "Returns:" in (function.__doc__ or ""), (cls, name)


def test_every_error_has_what_the_sqs_faces_need() -> None:
    for cls in CLASSES:
        if issubclass(cls, rqsqs.RequestError | rqsqs.ServerError):
            assert cls.sqs_code
            assert cls.sqs_shape
            assert 400 <= cls.http_status < 600


def test_objects_show_what_they_are() -> None:
    with rqsqs.connect("redis://:secret@127.0.0.1:1/0") as connection:
        assert repr(connection) == "<rqsqs.Connection 'redis://***@127.0.0.1:1/0'>"
        assert repr(connection.queue("orders")) == "<rqsqs.Queue 'orders'>"
    assert repr(rqsqs.Entry("x")) == "Entry('x')"
