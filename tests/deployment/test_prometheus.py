"""The dashboard, the alert rules and what is scraped: all names are exported, and a live fleet sets off alerts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("yaml")
pytest.importorskip("click")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

import yaml

import rqsqs
from rqsqs._core.alarm_records import AlarmHealth
from rqsqs._core.operations.server_memory import Memory
from rqsqs.gateway.counts import Counts
from rqsqs.gateway.metrics import GatewayMetrics
from rqsqs.gateway.settings import GatewaySettings
from rqsqs.metrics import exporter
from rqsqs.metrics.exposition import TEXT, labels
from tests.clients.tools import ROOT, missing
from tests.metrics.test_prometheus import EVERYTHING, series, text_of
from tests.servers import free_port
from tests.worker.test_prometheus import EVERYTHING as WORKER
from tests.worker.test_prometheus import read, told

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))["groups"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "rqsqs.json").read_text("utf-8"))
TARGET = {"instance", "job"}  # the labels that Prometheus adds
LIMIT_S = 120
APP = """
from rqsqs.worker import Worker

worker = Worker(heartbeat_interval=0.2)


@worker.handler("orders")
def handle(message):
    if message.body == "fail":
        raise ValueError("as it was told")
"""

needs_prometheus = pytest.mark.skipif(bool(missing("prometheus")), reason=missing("prometheus"))


def exported() -> dict[str, set[str]]:
    """All names of samples that we export, with their labels."""

    class Request:
        action, started = "SendMessage", time.perf_counter()

    counts = Counts()
    counts.note(Request(), 200)  # type: ignore[arg-type]
    own = GatewayMetrics(GatewaySettings(), counts)._of_process()
    more = [(exporter.UP, [("", 1)]), (exporter.DURATION, [("", 1)]), (exporter.BUILD, [(labels(version="1"), 1)])]
    more += exporter.of_alarms(AlarmHealth(0, 1, 0, None, 0, 0.0, {}))
    more += exporter.of_memory(Memory(1, 2, 50))
    text = text_of([EVERYTHING], TEXT) + "".join([family.written(TEXT, samples) for family, samples in [*more, *own]])
    found: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate", "queue"}}
    for name, given in [*series(text, TEXT), *read(told(WORKER))]:
        found.setdefault(name, set()).update(dict(given))
    return found


EXPORTED = exported()


def expressions() -> Iterator[tuple[str, str, list[str]]]:
    """Where each is, the expression, and the texts in which its labels are named."""
    for group in RULES:
        for rule in group["rules"]:
            named = re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
            yield rule["alert"], rule["expr"], named
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"], []
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"])


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("where", "expression", "named"), EXPRESSIONS, ids=[where for where, _, _ in EXPRESSIONS])
def test_an_expression_names_what_is_exported(where: str, expression: str, named: list[str]) -> None:
    metrics = re.findall(r"\b(rqsqs_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", expression)
    assert metrics, "an expression about nothing"
    known = set(TARGET)
    for name, matchers in metrics:
        assert name in EXPORTED, name
        used = re.findall(r"(\w+)\s*[=!]~?", matchers)
        assert set(used) <= EXPORTED[name] | TARGET, (name, used)
        known |= EXPORTED[name]
    for names in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", names)) <= known, names
    assert set(named) <= known


def test_what_is_exported_is_shown() -> None:
    """Each metric is in a panel or a rule, but for those that say the same as another one."""
    shown = {name for _, expression, _ in EXPRESSIONS for name in re.findall(r"rqsqs_\w+", expression)}
    others = {
        *[
            f"rqsqs_worker_messages_{name}_total"
            for name in ("received", "reclaimed", "failed", "dead_lettered", "lost")
        ],
        *["rqsqs_worker_in_flight", "rqsqs_worker_prefetched", "rqsqs_worker_start_time_seconds"],
        "rqsqs_worker_heartbeats_total",
        *[f"rqsqs_worker_{name}_total" for name in ("thread_restarts", "repeated_calls", "failovers", "wait_checks")],
        *["rqsqs_worker_broken_waits_total", "rqsqs_queue_created_timestamp_seconds", "rqsqs_queue_quiet_messages"],
        *["rqsqs_server_memory_used_bytes", "rqsqs_server_memory_limit_bytes"],
    }
    unseen = {name for name in EXPORTED if name.startswith("rqsqs_") and not name.endswith(("_sum", "_count"))}
    assert unseen - shown == others


def test_the_docs_have_each_metric() -> None:
    docs = "".join([(ROOT / "docs" / page).read_text("utf-8") for page in ("metrics.md", "gateway.md")])
    base = {re.sub(r"(?<=seconds)_(bucket|sum|count)$", "", name) for name in EXPORTED if name.startswith("rqsqs_")}
    named = set(re.findall(r"\brqsqs_\w+", docs))
    ends = set(re.findall(r"…(_\w+)", docs))
    assert named <= base
    assert [name for name in base if name not in named and not any(name.endswith(end) for end in ends)] == []


def test_the_dashboard_is_what_its_program_makes() -> None:
    program = [sys.executable, ROOT / "tools" / "dashboard.py", "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"] == "rqsqs"
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "queue"]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_promtool_takes_the_files() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "rules.yml")


@needs_prometheus
def test_each_rule_fires_when_it_should_and_not_else() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text("utf-8"))["tests"]
    [expected] = [each["promql_expr_test"][0]["exp_samples"] for each in tests if each["name"] == "everything is wrong"]
    fired = {re.search(r'alertname="(\w+)"', sample["labels"])[1] for sample in expected}
    assert fired == {rule["alert"] for group in RULES for rule in group["rules"]}
    promtool("test", "rules", "rules_test.yml")


class Prometheus:
    """A Prometheus that scrapes every second and evaluates our rules, which wait for nothing."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        rules = re.sub(r"^ +for: .*\n", "", (PROMETHEUS / "rules.yml").read_text("utf-8"), flags=re.MULTILINE)
        (folder / "rules.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        self.log = folder / "prometheus.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What it makes of an expression now."""
        try:
            url = f"{self.url}/api/v1/query?{urlencode({'query': expression})}"
            with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # it starts yet
                    return []
                raise AssertionError(f"{expression}: {error.read()!r}") from None
        except urllib.error.URLError:  # it does not listen yet
            assert self.process.poll() is None, self.log.read_text()
            return []

    def until(self, expression: str, is_so: Callable[[list[dict[str, Any]]], bool] = bool) -> list[dict[str, Any]]:
        """Wait for a result."""
        deadline = time.monotonic() + LIMIT_S
        while not is_so(found := self.query(expression)):
            assert time.monotonic() < deadline, (expression, found, self.query("up"))
            time.sleep(0.2)
        return found

    def value(self, expression: str) -> float:
        [found] = self.until(expression)
        return float(found["value"][1])


@contextlib.contextmanager
def program(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "rqsqs", *words]
    with (folder / f"{words[0]}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@needs_prometheus
def test_a_live_fleet_is_scraped_and_sets_off_alerts(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    common = ("--url", valkey_url, "--prefix", prefix, "--json")
    worker_options = ("--health-port", str(port))
    with (
        rqsqs.connect(valkey_url, prefix=prefix) as connection,
        program(tmp_path, "gateway", "--port", "0", "--metrics-port", "0", "--no-auth", *common) as gateway,
        program(tmp_path, "metrics", "serve", "--port", "0", *common) as serve,
    ):
        dead = connection.create_queue("dead")
        orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
        nobody = connection.create_queue("nobody")
        connection.alarms.put(
            rqsqs.Alarm("late", metric_name="visible", queue="nobody", threshold=1, comparison_operator=">")
        )
        about, serving = first(gateway), first(serve)
        targets = {
            "rqsqs": about["metrics_url"].removeprefix("http://").removesuffix("/metrics"),
            "rqsqs-alone": serving["url"].removeprefix("http://").removesuffix("/metrics"),
            "rqsqs-worker": f"127.0.0.1:{port}",
        }
        prometheus = Prometheus(tmp_path, targets)
        try:
            with program(tmp_path, "worker", "app", *worker_options, *common):
                prometheus.until('up{job="rqsqs-worker"} == 1')
                prometheus.until("rqsqs_worker_ready == 1")
                assert prometheus.value('rqsqs_dead_letters_total{job="rqsqs", queue="dead"}') == 0
                send = urlencode({"Action": "SendMessage", "MessageBody": "fail"})
                with urllib.request.urlopen(f"{about['url']}/000000000000/orders?{send}", timeout=LIMIT_S) as answer:
                    assert answer.status == 200
                orders.send("fine")
                nobody.send("x")
                for job in ("rqsqs", "rqsqs-alone"):
                    prometheus.until(f'rqsqs_messages_sent_total{{job="{job}", queue="orders"}} == 2')
                prometheus.until('rqsqs_worker_messages_succeeded_total{queue="orders"} >= 1')
                prometheus.until('rqsqs_worker_messages_failed_total{queue="orders"} == 1')
                assert prometheus.value('rqsqs_gateway_requests_total{action="SendMessage", status="200"}') == 1

                def fires(alert: str, queue: str) -> None:
                    found = prometheus.until(f'ALERTS{{alertname="{alert}", queue="{queue}", alertstate="firing"}}')
                    assert len(found) == 1, "two exporters tell of the queue, and one alert comes of it"

                fires("RqsqsDeadLetters", "dead")
                fires("RqsqsDeadLettersLieThere", "dead")
                fires("RqsqsBacklogWithoutConsumer", "nobody")
                found = prometheus.until('ALERTS{alertname="RqsqsAlarmsNotEvaluated", alertstate="firing"}')
                assert len(found) == 1, "both exporters tell that nobody evaluates alarms, and one alert comes of it"
                nobody.pause()
                fires("RqsqsQueuePaused", "nobody")
                silent = {"Bytes sent", "Groups in flight", "Noisy groups", "Oldest message of quiet groups"}
                silent.add("Refused and failed")
                for panel in DASHBOARD["panels"]:
                    for target in panel.get("targets", ()):
                        expression = target["expr"].replace("$__rate_interval", "1m").replace("$queue", ".*")
                        prometheus.until(expression, bool if panel["title"] not in silent else lambda _: True)
            prometheus.until('ALERTS{alertname="RqsqsExporterDown", job="rqsqs-worker", alertstate="firing"}')
        finally:
            prometheus.process.kill()
            prometheus.process.wait()
