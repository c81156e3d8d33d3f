"""`rqsqs keys` and `rqsqs policy`, and what doctor tells of policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("click")

import rqsqs
from rqsqs._io.sync.runner import Transport
from rqsqs.gateway.keys import read
from rqsqs.sqs import Context, perform
from tests.cli.tools import Run, records

OWN = "111111111111"


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return str(tmp_path / "keys.toml")


def put_policy(valkey_url: str, prefix: str, queue: str, *statements: dict[str, object]) -> None:
    transport = Transport(valkey_url, prefix)
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    transport.run(
        perform(Context(transport.space), "SetQueueAttributes", {"QueueUrl": queue, "Attributes": {"Policy": policy}})
    )
    transport.close()


def test_keys_are_made_listed_and_disabled(run: Run, keys: str) -> None:
    shown = run("keys", "add", "shop", "--allow", "SendMessage,Get*", "--queue", "orders", "--account", OWN,
                "--tag", "team=web", "--keys", keys)  # fmt: skip
    exported = dict(line.removeprefix("export ").split("=", 1) for line in shown.stdout.splitlines())
    assert exported.keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    (second,) = records(run("keys", "add", "shop", "--keys", keys, "--json"))
    assert (second["user"], second["account"], len(second["secret"])) == ("shop", OWN, 40)
    listed = run("keys", "ls", "--keys", keys)
    assert exported["AWS_ACCESS_KEY_ID"] in listed.stdout
    assert exported["AWS_SECRET_ACCESS_KEY"] not in listed.stdout + listed.stderr
    run("keys", "disable", exported["AWS_ACCESS_KEY_ID"], "--keys", keys)
    states = {row["key_id"]: row["state"] for row in records(run("keys", "ls", "--keys", keys, "--json"))}
    assert states == {exported["AWS_ACCESS_KEY_ID"]: "disabled", second["key_id"]: "active"}
    run("keys", "seal", "--keys", keys)
    assert len(read(Path(keys)).sealing) == 2


def test_the_file_by_variable(run: Run, keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_KEYS", keys)
    run("keys", "add", "admin", "--root")
    (row,) = records(run("keys", "ls", "--json"))
    assert row["root"] is True


def test_wrong_usage(run: Run, keys: str) -> None:
    assert "--keys" in run("keys", "add", "shop", code=2).stderr
    assert "--allow" in run("keys", "add", "shop", "--queue", "orders", "--keys", keys, code=2).stderr
    assert "twelve digits" in run("keys", "add", "shop", "--account", "1", "--keys", keys, code=2).stderr
    for wrong in ("a b", "SendMesage", "s3:*", "SendMessage,Snd*"):
        said = run("keys", "add", "shop", "--allow", wrong, "--keys", keys, code=2).stderr
        assert "--allow must be actions of SQS, such as SendMessage" in said, wrong
    said = run("keys", "add", "shop", "--allow", "DeleteMessageBatch", "--keys", keys, code=2).stderr
    assert "such as DeleteMessage," in said
    assert not Path(keys).exists()
    run("keys", "add", "shop", "--keys", keys)
    assert "see rqsqs keys ls" in run("keys", "disable", "AKIAOTHER", "--keys", keys, code=2).stderr
    assert "leave out --account" in run("keys", "add", "shop", "--root", "--keys", keys, code=2).stderr
    run("keys", "add", "shop", "--keys", keys)
    assert "rqsqs keys disable KEY" in run("keys", "add", "shop", "--keys", keys, code=2).stderr
    test = ("policy", "test", "--keys", keys, "--key", "shop", "--action")
    assert "--queue must be given" in run(*test, "SendMessage", code=2).stderr
    run(*test, "ListQueues", code=1)
    for each in ("*", "sqs:*", "sqs:Get*", "sendmessage"):
        run("keys", "add", f"user{len(each)}", "--allow", each, "--keys", keys)


def test_a_decision_is_explained_statement_by_statement(
    run: Run, keys: str, connection: rqsqs.Connection, valkey_url: str, prefix: str
) -> None:
    connection.create_queue("orders")
    run("keys", "add", "shop", "--allow", "SendMessage", "--queue", "orders", "--keys", keys)
    ask = ("policy", "test", "--keys", keys, "--key", "shop", "--queue", "orders", "--action")
    assert "statement 1 of users.shop.statements allows it" in run(*ask, "SendMessageBatch").stdout
    denied = run(*ask, "ReceiveMessage", code=1).stdout
    assert "sqs:ReceiveMessage is not among its actions: sqs:SendMessage" in denied
    deny = {"Sid": "office", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}  # fmt: skip
    put_policy(valkey_url, prefix, "orders", deny)
    *results, decision = records(run(*ask, "SendMessage", "--context", "aws:SourceIp=192.0.2.1", "--json", code=1))
    assert [(each["effect"], each["applies"]) for each in results] == [("Deny", True), ("Allow", True)]
    assert decision["rule"] == "statement 1 (office) of the queue policy denies it, and a Deny decides"
    assert decision["message"].endswith("with an explicit deny in a resource-based policy")
    inside = run(*ask, "SendMessage", "--context", "aws:SourceIp=10.1.2.3").stdout
    assert "its condition on aws:sourceip does not hold: it is 10.1.2.3" in inside


def test_permissions_for_the_console(run: Run, keys: str) -> None:
    assert run("keys", "add", "x", "--allow", "rqsqs:SendMessage", "--keys", keys, code=2).stderr
    run("keys", "add", "looker", "--allow", "rqsqs:*,GetQueueAttributes", "--queue", "orders", "--keys", keys)
    look = ("policy", "test", "--keys", keys, "--key", "looker", "--action")
    assert "allows it" in run(*look, "rqsqs:PeekMessages", "--queue", "orders").stdout
    assert "no statement allows it" in run(*look, "rqsqs:PeekMessages", "--queue", "invoices", code=1).stdout
    assert "no statement allows it" in run(*look, "rqsqs:ListEvents", code=1).stdout
    assert "--action must be" in run(*look, "rqsqs:Nothing", "--queue", "orders", code=2).stderr


def test_permissions_for_alarms_and_metrics(run: Run, keys: str) -> None:
    allow = "cloudwatch:DescribeAlarms, SendMessage,cloudwatch:Get*"
    run("keys", "add", "ops", "--allow", allow, "--queue", "orders", "--keys", keys)
    said = run("keys", "add", "x", "--allow", "cloudwatch:SendMessage", "--keys", keys, code=2).stderr
    assert "of CloudWatch, such as cloudwatch:DescribeAlarms" in said
    assert "got 'cloudwatch:SendMessage'" in said
    ask = ("policy", "test", "--keys", keys, "--key", "ops", "--action")
    arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:"
    assert f"cloudwatch:DescribeAlarms on {arn}late: statement 2" in run(
        *ask, "cloudwatch:DescribeAlarms", "--alarm", "late"
    ).stdout.replace("\n", " ")
    assert f"on {arn}*: statement 2" in run(*ask, "cloudwatch:DescribeAlarms").stdout.replace("\n", " ")
    assert "on *: statement 2" in run(*ask, "cloudwatch:GetMetricData").stdout.replace("\n", " ")
    denied = run(*ask, "cloudwatch:SetAlarmState", "--alarm", "late", "--json", code=1)
    assert records(denied)[-1]["message"].endswith("allows the cloudwatch:SetAlarmState action")
    for wrong, text in (
        (["cloudwatch:SetAlarmState"], "--alarm must be given: SetAlarmState is about an alarm"),
        (["cloudwatch:SetAlarmState", "--queue", "orders"], "--queue must be left out"),
        (["cloudwatch:SetAlarmState", "--account", OWN], "--account must be left out"),
        (["cloudwatch:SendMessage"], "--action must be an action of SQS, such as SendMessage, of CloudWatch"),
        (["sqs:SetAlarmState"], "--action must be an action of SQS"),
        (["SendMessage", "--queue", "orders", "--alarm", "late"], "--alarm must be left out"),
    ):
        assert text in run(*ask, *wrong, code=2).stderr


def test_tags_of_an_alarm_are_read(run: Run, keys: str, connection: rqsqs.Connection, tmp_path: Path) -> None:
    (tmp_path / "team.json").write_text(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Effect": "Allow",
                    "Action": "cloudwatch:*",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}},
                },
            }
        )
    )
    run("keys", "add", "team", "--policy", str(tmp_path / "team.json"), "--keys", keys)
    connection.alarms.put(rqsqs.CompositeAlarm("ours", "FALSE", tags={"team": "web"}))
    connection.alarms.put(rqsqs.CompositeAlarm("theirs", "FALSE", tags={"team": "mail"}))
    ask = ("policy", "test", "--keys", keys, "--key", "team", "--action", "cloudwatch:SetAlarmState", "--alarm")
    run(*ask, "ours")
    assert "its condition on aws:resourcetag/team does not hold: it is mail" in run(*ask, "theirs", code=1).stdout
    assert "there is no alarm none" in run(*ask, "none", code=1).stderr


def test_other_accounts_and_anonymous_callers(
    run: Run, keys: str, connection: rqsqs.Connection, valkey_url: str, prefix: str
) -> None:
    connection.create_queue("orders")
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    put_policy(valkey_url, prefix, "orders", allow)
    run("keys", "add", "eve", "--account", OWN, "--keys", keys)
    ask = ("policy", "test", "--keys", keys, "--queue", "orders", "--account", "000000000000", "--action")
    assert "one must besides the queue policy" in run(*ask, "SendMessage", "--key", "eve", code=1).stdout
    assert "only the account of the queue" in run(*ask, "DeleteQueue", "--key", "eve", code=1).stdout
    assert "anonymous access is off" in run(*ask, "SendMessage", code=1).stdout
    ending = "of the queue policy allows it"  # both have no identity policies that would have to allow it, too
    assert run(*ask, "SendMessage", "--allow-anonymous").stdout.rstrip().endswith(ending)
    run("keys", "add", "chief", "--root", "--account", OWN, "--keys", keys)
    assert run(*ask, "SendMessage", "--key", "chief").stdout.rstrip().endswith(ending)


def test_doctor_tells_of_queues_that_are_open_to_everybody(
    run: Run, connection: rqsqs.Connection, valkey_url: str, prefix: str
) -> None:
    for name in ("open", "closed", "odd"):
        connection.create_queue(name)
    allow = {"Effect": "Allow", "Principal": "*", "Action": ["sqs:SendMessage"], "Resource": "*"}
    put_policy(valkey_url, prefix, "open", allow)
    put_policy(valkey_url, prefix, "closed", {**allow, "Principal": {"AWS": OWN}})
    put_policy(valkey_url, prefix, "odd", allow)
    meta = connection.transport.queue("odd").home.keys("meta")[0]
    import redis

    with redis.Redis.from_url(valkey_url) as client:
        client.hset(meta, "Policy", '{"Statement": [{"Effect": "Allow"}]}')  # stored before there was a grammar
    found = {row["text"]: row["advice"] for row in records(run("doctor", "--json")) if row["check"] == "policies"}
    unreadable = "the policy of odd cannot be read, so a gateway denies everything there"
    assert found.keys() == {unreadable, "the policy of open allows sqs:SendMessage to everybody"}
    assert "root user" in found[unreadable]


def test_a_gateway_that_must_not_start_so_says_what_would_do(run: Run, keys: str) -> None:
    pytest.importorskip("uvicorn")
    assert "rqsqs keys add" in run("gateway", "--host", "0.0.0.0", code=2).stderr
    assert "--allow-unauthenticated" in run("gateway", "--host", "0.0.0.0", "--no-auth", code=2).stderr
    Path(keys).write_text("[users.a]\n")
    assert "give one of them" in run("gateway", "--no-auth", "--keys", keys, code=2).stderr
    assert "must have a sealing secret" in run("gateway", "--keys", keys, code=2).stderr
    Path(keys).write_text("[users.a]\nnonsense = 1\n")
    assert "there is no 'nonsense'" in run("gateway", "--keys", keys, code=2).stderr
    assert "needs a keys file" in run("gateway", "--allow-anonymous", code=2).stderr
