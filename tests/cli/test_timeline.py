"""`rqsqs show QUEUE MESSAGE_ID --timeline`."""

from __future__ import annotations

import rqsqs
from tests.cli.tools import Run, records


def test_what_happened_is_told_also_of_a_message_that_is_gone(run: Run, connection: rqsqs.Connection) -> None:
    run("create", "orders", "--timeline", "on")
    sent = connection.queue("orders").send("lamp")
    shown = run("show", "orders", sent.message_id, "--timeline").stdout
    assert "lamp" in shown
    assert "orders: sent" in shown
    [message] = connection.queue("orders").receive()
    message.delete()
    shown = run("show", "orders", sent.message_id.upper(), "--timeline").stdout
    assert shown.startswith(f"{sent.message_id}\norders does not hold it now\n\ntimeline\n")
    assert (
        shown.index("orders: sent") < shown.index("orders: received for the 1st time") < shown.index("orders: deleted")
    )
    assert "lamp" not in shown
    (record,) = records(run("show", "orders", sent.message_id, "--timeline", "--json"))
    assert (record["queue"], record["message_id"]) == ("orders", sent.message_id)
    assert [step["kind"] for step in record["timeline"]] == ["sent", "received", "deleted"]
    assert record["timeline"][1]["receive_count"] == 1


def test_what_is_not_known_is_said_with_the_way_out(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    sent = queue.send("lamp")
    way_out = "the timeline of orders is off (rqsqs set orders --timeline on)"
    assert way_out in run("show", "orders", sent.message_id, "--timeline").stdout
    queue.purge()
    assert way_out in run("show", "orders", sent.message_id, "--timeline", code=4).stderr
    run("set", "orders", "--timeline", "65536")
    (record,) = records(run("show", "orders", "--json"))
    assert record["attributes"]["Timeline"] == 65_536
    said = run("show", "orders", sent.message_id, "--timeline", code=4).stderr
    assert f"nothing is known of {sent.message_id} in orders" in said
    run("set", "orders", "--timeline", "off")
    assert "Timeline" not in records(run("show", "orders", "--json"))[0]["attributes"]


def test_wrong_use(run: Run) -> None:
    run("create", "orders")
    assert "--timeline needs a MESSAGE_ID" in run("show", "orders", "--timeline", code=2).stderr
    assert "is not on, off or a number of bytes" in run("set", "orders", "--timeline", "much", code=2).stderr
    assert "timeline must be True, False, or bytes" in run("set", "orders", "--timeline", "12", code=2).stderr
    run("create", "bills", "--timeline", "on")
    said = run("create", "bills", "--timeline", "65536", code=1).stderr
    assert "rqsqs set bills --timeline 65536 changes that" in said
