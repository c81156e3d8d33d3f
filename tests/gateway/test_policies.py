"""What policies decide: known cases, and random ones against an evaluator that is as plain as it gets."""

from __future__ import annotations

import fnmatch
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from rqsqs.gateway.callers import ANONYMOUS, Caller, root_of, user_of
from rqsqs.gateway.policies import (
    Decision,
    RequestContext,
    decide,
    open_to_everybody,
    read_identity_policy,
    read_queue_policy,
)
from rqsqs.gateway.wildcards import Pattern

CASES = json.loads((Path(__file__).parent / "decisions.json").read_text("utf-8"))
ACCOUNT, OTHER = "111111111111", "222222222222"
ORDERS = f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders"


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def statement(effect: str = "Allow", **members: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "sqs:*", "Resource": "*", **members}


def caller(arn: str, identity: list[dict[str, Any]]) -> Caller:
    if arn == "ANON":
        return ANONYMOUS
    policies = (read_identity_policy({"Version": "2012-10-17", "Statement": identity}),) if identity else ()
    account = arn.split(":")[4] if ":" in arn else ""
    return Caller(arn, account, "", is_root=arn.endswith(":root"), policies=policies)


def decided(
    who: Caller,
    queue: list[dict[str, Any]],
    *,
    action: str = "sqs:SendMessage",
    resource: str = ORDERS,
    context: dict[str, Any] | None = None,
    version: str = "2012-10-17",
) -> Decision:
    values = {k.lower(): v if isinstance(v, list) else [v] for k, v in (context or {}).items()}
    queue_policy = read_queue_policy(policy(*queue, version=version)) if queue else None
    return decide(who, queue_policy, RequestContext(action, resource, ACCOUNT, values.get))


def kind(decision: Decision) -> str:
    if decision.is_allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.reason == "explicit deny" else "ImplicitlyDenied"


ALICE = user_of("alice", ACCOUNT, key_id="A")
BOB = user_of("bob", ACCOUNT, key_id="B")
EVE = user_of("eve", OTHER, key_id="E")
ROOT = root_of(ACCOUNT)


@pytest.mark.parametrize("case", CASES, ids=[f"{n}: {case['why']}" for n, case in enumerate(CASES, 1)])
def test_known_decisions(case: dict[str, Any]) -> None:
    who = caller(case["principal"], case["identity"])
    found = decided(who, case["queue"], action=case["action"], resource=case["resource"], context=case["context"])
    assert kind(found) == case["expected"]


def test_there_are_as_many_as_were_found() -> None:
    assert len(CASES) == 94


def test_the_root_user_needs_no_policy_and_mends_one_that_denies_everything() -> None:
    assert decided(ROOT, []).reason == "root"
    deny = [statement("Deny", Principal="*")]
    assert kind(decided(ROOT, deny)) == "ExplicitlyDenied"
    for action in ("SetQueueAttributes", "GetQueueAttributes", "RemovePermission", "DeleteQueue"):
        assert decided(ROOT, deny, action=f"sqs:{action}").is_allowed
        admin = caller(f"arn:aws:iam::{ACCOUNT}:user/admin", [statement()])
        assert kind(decided(admin, deny, action=f"sqs:{action}")) == "ExplicitlyDenied"
    assert not decided(root_of(OTHER), []).is_allowed
    assert decided(root_of(OTHER), [statement(Principal={"AWS": OTHER})]).is_allowed


def test_a_policy_that_cannot_be_read_denies_everything() -> None:
    admin = caller(f"arn:aws:iam::{ACCOUNT}:user/admin", [statement()])
    for text in ("{}", "nonsense", policy({"Effect": "Deny"}), '{"Statement": ' * 2000):
        for who in (ALICE, admin, ANONYMOUS, EVE, ROOT):
            found = decide(who, read_queue_policy(text), RequestContext("sqs:SendMessage", ORDERS, ACCOUNT))
            assert not found.is_allowed
        assert decide(
            ROOT, read_queue_policy(text), RequestContext("sqs:SetQueueAttributes", ORDERS, ACCOUNT)
        ).is_allowed


def test_a_deny_with_not_principal_spares_only_who_is_named_with_its_account() -> None:
    admin = [statement()]
    root = f"arn:aws:iam::{ACCOUNT}:root"
    alice, bob = (caller(f"arn:aws:iam::{ACCOUNT}:user/{name}", admin) for name in ("alice", "bob"))
    for spared, expected in (
        ([bob.arn, root], "Allowed"),
        ([bob.arn, ACCOUNT], "Allowed"),
        ([bob.arn], "ExplicitlyDenied"),
        ([root], "ExplicitlyDenied"),
    ):
        deny = statement("Deny", NotPrincipal={"AWS": spared})
        assert kind(decided(bob, [deny])) == expected
        assert kind(decided(alice, [deny])) == "ExplicitlyDenied"
    assert kind(decided(ANONYMOUS, [statement(Principal="*"), statement("Deny", NotPrincipal={"AWS": root})])) == (
        "ExplicitlyDenied"
    )


def test_variables_are_literal_in_the_older_version() -> None:
    names = f"arn:aws:sqs:us-east-1:{ACCOUNT}:${{aws:username}}-queue"
    allow = statement(Principal="*", Resource=names)
    for version, name, allowed in (
        ("2012-10-17", "alice-queue", True),
        ("2008-10-17", "alice-queue", False),
        ("2008-10-17", "${aws:username}-queue", True),
    ):
        found = decided(ALICE, [allow], resource=f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}", version=version,
                        context={"aws:username": "alice"})  # fmt: skip
        assert found.is_allowed is allowed


def test_a_star_in_a_value_is_no_wildcard() -> None:
    allow = statement(Principal="*", Resource=f"arn:aws:sqs:us-east-1:{ACCOUNT}:${{aws:username}}")
    for name, allowed in (("*", False), ("orders", True), ("order?", False)):
        assert decided(ALICE, [allow], context={"aws:username": name}).is_allowed is allowed
    like = statement(Principal="*", Condition={"StringLike": {"aws:userid": "${aws:username}"}})
    assert not decided(ALICE, [like], context={"aws:username": "*", "aws:userid": "x"}).is_allowed
    assert decided(ALICE, [like], context={"aws:username": "*", "aws:userid": "*"}).is_allowed
    literal = statement(Principal="*", Condition={"StringLike": {"aws:userid": "${*}${?}${$}*"}})
    for text, allowed in (("*?$x", True), ("xyz", False)):
        assert decided(ALICE, [literal], context={"aws:userid": text}).is_allowed is allowed


def test_a_variable_that_stands_for_nothing_opens_nothing() -> None:
    others = {"Action": "sqs:*", "NotResource": "arn:aws:sqs:*:*:${aws:username}", "Principal": "*"}
    for context, allowed in (({}, False), ({"aws:username": "bob"}, True), ({"aws:username": "orders"}, False)):
        assert decided(ALICE, [{"Effect": "Allow", **others}], context=context).is_allowed is allowed
    everything = statement(Principal="*")
    for context, allowed in (({}, False), ({"aws:username": "bob"}, False), ({"aws:username": "orders"}, True)):
        assert decided(ALICE, [everything, {"Effect": "Deny", **others}], context=context).is_allowed is allowed


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"NumericLessThanEquals": {"aws:MultiFactorAuthAge": "10"}}, {"aws:MultiFactorAuthAge": "10"}, True),
        ({"NumericGreaterThan": {"aws:MultiFactorAuthAge": 9.5}}, {"aws:MultiFactorAuthAge": "10"}, True),
        ({"NumericEquals": {"aws:MultiFactorAuthAge": "10"}}, {"aws:MultiFactorAuthAge": "10.0"}, True),
        ({"NumericNotEquals": {"aws:MultiFactorAuthAge": "10"}}, {"aws:MultiFactorAuthAge": "x"}, True),
        ({"NumericEquals": {"aws:MultiFactorAuthAge": "10"}}, {"aws:MultiFactorAuthAge": "x"}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}, {"aws:CurrentTime": "2026-01-01T00:00:01Z"}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": 1767225600}}, {"aws:CurrentTime": "2026-01-01T00:00:01Z"}, True),
        ({"DateLessThanEquals": {"aws:EpochTime": "1767225600"}}, {"aws:EpochTime": "1767225601"}, False),
        ({"BinaryEquals": {"aws:userid": "QQ=="}}, {"aws:userid": "QQ=="}, True),
        ({"BinaryEquals": {"aws:userid": "QQ=="}}, {"aws:userid": "Qg=="}, False),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws:SecureTransport": "TRUE"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": "::ffff:10.1.2.3"}, True),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, {"aws:SourceIp": "unix"}, False),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": "192.0.2.1"}, True),
        ({"IpAddress": {"aws:SourceIp": "2001:db8::1"}}, {"aws:SourceIp": "2001:db8:0::1"}, True),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/b*"}}, {"aws:PrincipalArn": ALICE.arn}, True),
        ({"StringNotLike": {"aws:userid": "a*"}}, {"aws:userid": "abc"}, False),
        ({"StringNotEqualsIgnoreCase": {"aws:userid": "ABC"}}, {"aws:userid": "abc"}, False),
        ({"StringEqualsIfExists": {"aws:userid": "x"}, "Null": {"aws:userid": True}}, {}, True),
        ({"Null": {"aws:TagKeys": "false"}}, {"aws:TagKeys": []}, True),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["a"]}}, {"aws:TagKeys": ["a", "b"]}, True),
        ({"ForAllValues:StringNotLike": {"aws:TagKeys": ["a*"]}}, {"aws:TagKeys": ["ab", "b"]}, False),
        ({"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"StringEquals": {"aws:TagKeys": "a"}}, {"aws:TagKeys": ["a"]}, False),
        ({"StringEquals": {"AWS:RequestTag/Env": "x"}}, {"aws:requesttag/env": "x"}, True),
    ],
    ids=str,
)  # fmt: skip
def test_conditions(condition: dict[str, Any], context: dict[str, Any], holds: bool) -> None:
    allow = statement(Principal="*", Condition=condition)
    assert decided(ALICE, [allow], context=context).is_allowed is holds


def test_refusals_in_the_words_of_aws() -> None:
    head = f"User: {ALICE.arn} is not authorized to perform: sqs:sendmessage on resource: {ORDERS}"
    deny = [statement("Deny")]
    admin = caller(EVE.arn, [statement()])
    by_queue = "because no resource-based policy allows the sqs:sendmessage action"
    for who, queue, text in (
        (ALICE, [], f"{head} because no identity-based policy allows the sqs:sendmessage action"),
        (ALICE, [statement("Deny", Principal="*")], f"{head} with an explicit deny in a resource-based policy"),
        (caller(ALICE.arn, deny), [], f"{head} with an explicit deny in an identity-based policy"),
        (admin, [], f"{head} {by_queue}".replace(ALICE.arn, EVE.arn)),
        (ANONYMOUS, [], f"{head} {by_queue}".replace(ALICE.arn, "anonymous")),
    ):
        assert decided(who, queue).message(who, "sqs:SendMessage", ORDERS) == text


def test_which_policies_are_open_to_everybody() -> None:
    narrow = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    for one, is_open in (
        (statement(Principal="*"), True),
        (statement(Principal={"AWS": ["*", ACCOUNT]}), True),
        (statement(NotPrincipal={"AWS": ACCOUNT}), True),
        (statement(Principal={"AWS": ACCOUNT}), False),
        (statement("Deny", Principal="*"), False),
        (statement(Principal="*", Condition=narrow), False),
        (statement(Principal="*", Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), True),
        (statement(Principal="*", Condition={"StringNotEquals": {"aws:PrincipalAccount": OTHER}}), True),
        (statement(Principal="*", Condition={"StringEqualsIfExists": {"aws:PrincipalAccount": OTHER}}), True),
        (statement(Principal="*", Condition={"StringEquals": {"aws:PrincipalAccount": OTHER}}), False),
        (statement(Principal="*", Condition={"Bool": {"aws:SecureTransport": "true"}}), True),
    ):
        assert bool(open_to_everybody(read_queue_policy(policy(one)))) is is_open, one


@pytest.mark.parametrize(
    "pattern", ["*", "a*", "*a", "a*b*c", "**", "?", "a?c", "*?a", "a*?", "", "a.c", "*.*", "[a]*", "a\nb*"]
)
def test_wildcards_mean_what_they_do_for_files(pattern: str) -> None:
    rng = random.Random(pattern)
    texts = {"", "a", "abc", "a\nbc", "[a]x", *("".join(rng.choices("abc.\n", k=rng.randrange(8))) for _ in range(300))}
    compiled = Pattern(pattern, has_variables=False)
    spelled = re.compile(fnmatch.translate(pattern.replace("[", "[[]")))
    for text in texts:
        assert compiled.matches(text, lambda key: None) is (spelled.match(text) is not None), text


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    compiled = Pattern("*a" * 50 + "b", has_variables=False)
    begin = time.process_time()
    assert compiled.matches("a" * 8000, lambda key: None) is False
    assert time.process_time() - begin < 5  # a regular expression for the whole would take years


ACTIONS = ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteQueue", "sqs:ListQueues"]
QUEUES = [
    f"arn:aws:sqs:{region}:{ACCOUNT}:{name}" for region in ("us-east-1", "eu-west-1") for name in ("a", "ab", "b")
]
PRINCIPALS = ["*", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ALICE.arn, BOB.arn, EVE.arn, OTHER]


def a_statement(rng: random.Random, *, of_queue: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": rng.choice(["Allow", "Allow", "Deny"])}
    actions = rng.sample([*ACTIONS, "*", "sqs:*", "SQS:send*", "sqs:?e*"], k=rng.randrange(1, 3))
    found[rng.choice(["Action", "Action", "NotAction"])] = actions
    resources = rng.sample(
        [*QUEUES, "*", "arn:aws:sqs:*:*:a*", "arn:aws:*:*:*:a", "arn:aws:sqs:us-east-1:*:?"], k=rng.randrange(1, 3)
    )
    found[rng.choice(["Resource", "Resource", "NotResource"])] = resources
    if of_queue:
        principals = rng.sample(PRINCIPALS, k=rng.randrange(1, 4))
        found[rng.choice(["Principal", "Principal", "Principal", "NotPrincipal"])] = {"AWS": principals}
    if rng.random() < 0.5:
        operator = rng.choice(
            ["StringEquals", "StringNotEquals", "StringLike", "StringEqualsIfExists", "StringNotLike"]
        )
        found["Condition"] = {
            operator: {rng.choice(["aws:username", "AWS:x"]): rng.sample(["alice", "b*", "", "x"], k=2)}
        }
    return found


def plainly(
    who: Caller, identity: list[Any], queue: list[Any], action: str, resource: str, context: dict[str, str]
) -> str:
    """The rules again, one after the other, without compiling anything."""

    def glob(pattern: str, text: str) -> bool:
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None

    def is_about(one: dict[str, Any]) -> bool:
        actions = any(glob(each.lower(), action.lower()) for each in one.get("Action", one.get("NotAction")))
        if actions != ("Action" in one):
            return False
        resources = any(
            each == "*" or (each.count(":") == 5 and all(map(glob, each.split(":"), resource.split(":"))))
            for each in one.get("Resource", one.get("NotResource"))
        )
        if resources != ("Resource" in one):
            return False
        for operator, tests in one.get("Condition", {}).items():
            for key, values in tests.items():
                found = context.get(key.lower())
                if found is None:
                    if not (operator.endswith("IfExists") or "Not" in operator):
                        return False
                    continue
                matched = any(glob(v, found) if "Like" in operator else v == found for v in values)
                if matched == ("Not" in operator):
                    return False
        return True

    def names(one: dict[str, Any]) -> str | None:
        listed = one.get("Principal", one.get("NotPrincipal"))["AWS"]
        account = {who.account, f"arn:aws:iam::{who.account}:root"} if who.account else set()
        everybody, itself, its_account = "*" in listed, who.arn in listed, bool(account & set(listed))
        if "Principal" in one:
            return "direct" if everybody or itself else "account" if its_account else None
        if everybody:
            return None
        if one["Effect"] == "Allow":
            return None if itself or its_account else "direct"
        return None if itself and (its_account or not who.account) else "direct"

    of_user, of_queue = [one for one in identity if is_about(one)], [one for one in queue if is_about(one)]
    if any(one["Effect"] == "Deny" for one in of_user) or any(
        one["Effect"] == "Deny" and names(one) for one in of_queue
    ):
        return "ExplicitlyDenied"
    by_user = any(one["Effect"] == "Allow" for one in of_user)
    matches = {names(one) for one in of_queue if one["Effect"] == "Allow"} - {None}
    is_foreign = who.account not in (ACCOUNT, "")
    allowed = (by_user and bool(matches)) if is_foreign else (by_user or "direct" in matches)
    return "Allowed" if allowed else "ImplicitlyDenied"


def test_random_policies_against_a_plain_evaluator() -> None:
    rng = random.Random(7)
    kinds: dict[str, int] = {}
    for _ in range(4000):
        identity = [a_statement(rng, of_queue=False) for _ in range(rng.randrange(3))]
        queue = [a_statement(rng, of_queue=True) for _ in range(rng.randrange(3))]
        arn = rng.choice([ALICE.arn, BOB.arn, EVE.arn, "ANON"])
        if arn == "ANON":
            identity = []
        who = caller(arn, identity)
        action, resource = rng.choice(ACTIONS), rng.choice(QUEUES)
        context = {key: rng.choice(["alice", "bob", ""]) for key in ("aws:username", "aws:x") if rng.random() < 0.6}
        expected = plainly(who, identity, queue, action, resource, context)
        assert kind(decided(who, queue, action=action, resource=resource, context=context)) == expected, (
            identity,
            queue,
        )
        kinds[expected] = kinds.get(expected, 0) + 1
    assert min(kinds.values()) > 200  # else the policies are too much alike
