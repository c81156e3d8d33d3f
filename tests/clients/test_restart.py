"""A gateway is killed and started again; consumers go on, and nobody restarts them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

import rqsqs
from tests.clients.conftest import PATIENCE_S, launched
from tests.clients.tools import FOLDER, missing
from tests.servers import Server, free_port

CONSUMER = """
import { appendFileSync } from "node:fs";
import { SQS } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [queueUrl, file] = process.argv.slice(2);
const consumer = Consumer.create({
  queueUrl,
  sqs: new SQS(),
  batchSize: 10,
  visibilityTimeout: 5,
  pollingWaitTimeMs: 50,
  handleMessage: async (message) => {
    appendFileSync(file, `${message.Body}\\n`);
    return message;
  },
});
consumer.on("error", () => appendFileSync(file, "error\\n"));
consumer.start();
"""


def test_sqs_consumer_outlives_a_gateway(tmp_path: Path) -> None:
    if reason := missing("node"):
        pytest.skip(reason)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
    (tmp_path / "consumer.mjs").write_text(CONSUMER, "utf-8")
    handled = tmp_path / "handled"
    port = free_port()

    def wait_for(wanted: set[str]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not handled.exists() or not wanted <= set(handled.read_text("utf-8").split()):
            assert time.monotonic() < deadline, f"not handled in {PATIENCE_S} seconds"
            time.sleep(0.02)

    with Server("valkey") as server, rqsqs.connect(server.url) as connection:
        queue = connection.create_queue("tour-restart")
        with launched(tmp_path, server.url, port) as (gateway, process):
            command = ["node", "consumer.mjs", f"{gateway.address}/000000000000/tour-restart", str(handled)]
            with subprocess.Popen(command, env=gateway.env, cwd=tmp_path, stderr=subprocess.DEVNULL) as consumer:
                try:
                    queue.send_batch([f"before-{number}" for number in range(50)])
                    wait_for({f"before-{number}" for number in range(50)})
                    process.kill()
                    process.wait()
                    queue.send_batch([f"meanwhile-{number}" for number in range(50)])
                    wait_for({"error"})
                    with launched(tmp_path, server.url, port):
                        wait_for({f"meanwhile-{number}" for number in range(50)})
                        deadline = time.monotonic() + PATIENCE_S
                        while queue.counts() != rqsqs.Counts():  # what was handled is deleted, too
                            assert time.monotonic() < deadline, queue.counts()
                            time.sleep(0.02)
                    assert consumer.poll() is None
                finally:
                    consumer.kill()
