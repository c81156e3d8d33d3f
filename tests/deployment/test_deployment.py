"""The Dockerfile and deploy/: what they name exists, and their commands are ours.

No container engine is needed. Linters run if `make test-clients` has installed them; so does the test that carries out
the Dockerfile's commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.tools import FOLDER, ROOT, missing
from tests.servers import Server, free_port

yaml = pytest.importorskip("yaml")
click = pytest.importorskip("click")
program = pytest.importorskip("rqsqs.cli.program").program

DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
MANIFESTS = {
    (each["kind"], each["metadata"]["name"]): each
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for each in yaml.safe_load_all(file.read_text("utf-8"))
}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ALL = bool(os.environ.get("RQSQS_TEST_CLIENTS"))


def instructions(name: str) -> list[str]:
    """The instructions of the Dockerfile with a name, each on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), manifest in MANIFESTS.items():
        if kind in ("Deployment", "StatefulSet"):
            yield name, manifest["spec"]["template"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of rqsqs, and where it is."""
    yield "Dockerfile CMD", json.loads(instructions("CMD")[-1])
    check = re.sub(r"^.*CMD ", "", instructions("HEALTHCHECK")[-1])
    yield "Dockerfile HEALTHCHECK", json.loads(check)[1:]
    for name, service in COMPOSE["services"].items():
        if "build" in service and "entrypoint" not in service:
            yield f"compose {name}", shlex.split(service["command"])
    for name, template in pods():
        [container] = template["spec"]["containers"]
        if container["image"].startswith("rqsqs"):
            yield f"kubernetes {name}", container["args"]
    for unit in UNITS:
        [line] = re.findall(r"^ExecStart=\S*/rqsqs (.*)$", unit.read_text("utf-8"), re.MULTILINE)
        yield unit.name, shlex.split(line)
    in_comments = re.compile(
        r"^#.*(?<!--namespace )\brqsqs ((?:keys|doctor|gateway|worker|alarms|create) .*)$", re.MULTILINE
    )
    for file in (ROOT / "Dockerfile", DEPLOY / "compose.yaml", *UNITS, *(DEPLOY / "kubernetes").glob("*.yaml")):
        for line in in_comments.findall(file.read_text("utf-8")):
            yield f"{file.name}, comment", shlex.split(re.split(r"  +", line)[0])
    for page in ("deployment.md", "authorization.md", "gateway.md", "clients/README.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for line in re.findall(r"^ *(?:\$ )?rqsqs ((?:keys|policy|acl|gateway) .*)$", text, re.MULTILINE):
            yield page, shlex.split(re.split(r" >>|  +#", line)[0])


COMMANDS = list(commands())


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[where for where, _ in COMMANDS])
def test_a_command_exists_with_its_options(where: str, words: list[str]) -> None:
    command: click.Command = program
    context = click.Context(program)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"{where}: rqsqs has no command {words[0]}"
        command, words = found, words[1:]
    command.make_context(command.name, list(words))  # raises for an option that it does not know


def test_the_image_runs_as_a_user_without_rights() -> None:
    user = instructions("USER")[-1]
    assert user == "10001:10001"
    assert int(re.search(r"--uid (\d+)", DOCKERFILE)[1]) == 10001
    for name, template in pods():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            if container["image"].startswith("rqsqs"):
                assert spec["securityContext"]["runAsUser"] == 10001
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name


def test_what_the_image_is_built_from_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_everything_listens_and_asks_on_one_port() -> None:
    gateway = program.get_command(click.Context(program), "gateway")
    [port] = [option.default for option in gateway.params if option.name == "port"]
    assert instructions("EXPOSE") == [str(port)]
    assert COMPOSE["services"]["gateway"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    [container] = MANIFESTS["Deployment", "rqsqs-gateway"]["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"sqs": port, "metrics": 9464}
    service = MANIFESTS["Service", "rqsqs-gateway"]["spec"]
    assert service["ports"] == [{"name": "sqs", "port": port, "targetPort": "sqs"}]


def test_compose_names_what_exists() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"]), name
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            assert source in COMPOSE["volumes"] or source == "./keys" or (DEPLOY / source).is_dir(), volume
            if service.get("working_dir") == target:
                words = [*service.get("entrypoint", []), *shlex.split(service.get("command", ""))]
                files = [w for w in words if w.endswith(".py")] + [w.split(":")[0] + ".py" for w in words if ":" in w]
                assert files
                assert all((DEPLOY / source / file).is_file() for file in files), files


def test_the_manifests_fit_together() -> None:
    for (kind, name), manifest in MANIFESTS.items():
        spec = manifest.get("spec", {})
        assert manifest["metadata"]["namespace"] == "rqsqs"
        if kind in ("Deployment", "StatefulSet"):
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"], name
            [container] = spec["template"]["spec"]["containers"]
            volumes = {volume["name"] for volume in spec["template"]["spec"].get("volumes", [])}
            volumes |= {volume["metadata"]["name"] for volume in spec.get("volumeClaimTemplates", [])}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        elif kind in ("Service", "PodDisruptionBudget"):
            selector = spec["selector"].get("matchLabels", spec["selector"])
            assert [n for n, template in pods() if template["metadata"]["labels"] == selector], name


def test_what_is_scraped_is_served() -> None:
    """The ports of Prometheus's configuration and of annotations are those that the commands name."""
    named = {where: words for where, words in COMMANDS if "comment" not in where}
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    targets = [each["static_configs"][0]["targets"][0] for each in config["scrape_configs"]]
    assert {target.split(":")[0] for target in targets} == {"gateway", "worker"}
    for target in targets:
        service, port = target.split(":")
        words = named[f"compose {service}"]
        option = "--metrics-port" if service == "gateway" else "--health-port"
        assert words[words.index(option) + 1] == port
        assert words[words.index(option.replace("port", "host")) + 1] == "0.0.0.0"
    scraped = 0
    for name, template in pods():
        annotations = template["metadata"].get("annotations", {})
        if annotations.get("prometheus.io/scrape") == "true":
            [container] = template["spec"]["containers"]
            words = named[f"kubernetes {name}"]
            options = {"rqsqs-gateway": "metrics", "rqsqs-worker": "health"}.get(name, "")
            option = f"--{options}-" if options else "--"
            assert words[words.index(f"{option}port") + 1] == annotations["prometheus.io/port"], name
            assert words[words.index(f"{option}host") + 1] == "0.0.0.0"
            assert int(annotations["prometheus.io/port"]) in [each["containerPort"] for each in container["ports"]]
            scraped += 1
    assert scraped == 3
    mounts = [volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    provisioning = DEPLOY / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "rqsqs.yaml").read_text("utf-8"))["providers"]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounts
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_probes_ask_for_what_the_gateway_answers() -> None:
    [container] = MANIFESTS["Deployment", "rqsqs-gateway"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_keda_asks_the_gateway() -> None:
    scaled = MANIFESTS["ScaledObject", "rqsqs-worker"]["spec"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in MANIFESTS
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "aws-sqs-queue"
    assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in MANIFESTS
    given = trigger["metadata"]
    assert all(isinstance(value, str) for value in given.values()), "KEDA takes text only"
    service = MANIFESTS["Service", "rqsqs-gateway"]
    port = service["spec"]["ports"][0]["port"]
    assert given["awsEndpoint"] == f"http://rqsqs-gateway.{service['metadata']['namespace']}.svc:{port}"
    assert re.fullmatch(r"/\d{12}/[\w-]+", urlsplit(given["queueURL"]).path)
    assert {each["parameter"] for each in MANIFESTS["TriggerAuthentication", "rqsqs"]["spec"]["secretTargetRef"]} == {
        "awsAccessKeyID",
        "awsSecretAccessKey",
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = re.sub(
        r"^(ExecStart=)\S*/rqsqs", rf"\g<1>{shutil.which('true')}", unit.read_text("utf-8"), flags=re.MULTILINE
    )
    (tmp_path / unit.name).write_text(text, "utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LINTERS = {
    "hadolint": ["hadolint", "Dockerfile"],
    "yamllint": [
        *("yamllint", "--strict", "--config-data"),
        "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
        "braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}",
        "deploy",
    ],
    "kubernetes-validate": [
        "kubernetes-validate",
        *(
            f"deploy/kubernetes/{name}.yaml" for name in ("gateway", "metrics", "valkey", "worker")
        ),  # KEDA's kinds are not its own
    ],
}


# The kinds of KEDA and of Compose, checked by libraries: python -c CHECK, with the documents as JSON on stdin.
SCHEMAS = {
    "compose": (
        "import compose_spec, sys; compose_spec.PyCompose.from_json(sys.stdin.read()).validate()",
        COMPOSE,
        lambda document: document["services"]["gateway"].update(restart="sometimes"),
    ),
    "keda": (
        "import json, sys; from cloudcoil.models.keda import v1alpha1 as keda\n"
        "for each in json.load(sys.stdin): getattr(keda, each['kind']).model_validate(each)",
        [manifest for manifest in MANIFESTS.values() if manifest["apiVersion"].startswith("keda.sh/")],
        lambda documents: documents[0]["spec"].update(pollingInterval="often", secretTargetRef="none"),
    ),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_takes_it(kind: str) -> None:
    if reason := missing("lint"):
        pytest.skip(reason)
    check, document, spoil = SCHEMAS[kind]

    def checked(text: str) -> subprocess.CompletedProcess[str]:
        command = [FOLDER / "lint" / "bin" / "python", "-c", check]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    done = checked(json.dumps(document))
    assert done.returncode == 0, done.stderr
    spoiled = json.loads(json.dumps(document))
    spoil(spoiled)
    assert checked(json.dumps(spoiled)).returncode != 0, "it takes everything"


@pytest.mark.parametrize("linter", LINTERS)
def test_a_linter_has_nothing_to_say(linter: str) -> None:
    if reason := missing("lint"):
        pytest.skip(reason)
    program, *words = LINTERS[linter]
    command = [FOLDER / "lint" / "bin" / program, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def python_for_all() -> str | None:
    """A Python that every user can run, with venv."""
    for python in (sys.executable, "/usr/bin/python3"):
        base = Path(python).resolve()
        check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        if (
            base.exists()
            and all(folder.stat().st_mode & 0o001 for folder in base.parents)
            and subprocess.run([base, "-c", check], capture_output=True, check=False).returncode == 0
        ):
            return str(base)
    return None


def test_the_commands_of_the_image_build_a_gateway_that_is_healthy() -> None:
    """In a clean folder; then as the image's user, with a file system that nobody may write to."""
    if not ALL:
        pytest.skip("takes long: make test-clients")
    if os.getuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("needs root, to become another user on a read-only root")
    python = python_for_all()
    if python is None:
        pytest.skip("no Python of 3.11 or newer that another user may run")
    with tempfile.TemporaryDirectory() as name, Server("valkey") as server:
        folder = Path(name)
        folder.chmod(0o755)
        home = build_as_the_dockerfile_does(folder, python)
        keys = folder / "keys.toml"
        add = [home / "bin" / "rqsqs", "keys", "add", "test", "--root", "--keys", keys]
        subprocess.run(add, capture_output=True, check=True)
        os.chown(keys, 10001, 10001)

        env = dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[0]))
        env |= {"PATH": f"{home}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "RQSQS_URL": server.url}
        read_only = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            'mount --bind / /; mount -o remount,ro,bind /; cd /; exec "$@"',
            "sh",
        ]
        contained = [*read_only, "setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups"]
        port = str(free_port())
        health = [*json.loads(re.sub(r"^.*CMD ", "", instructions("HEALTHCHECK")[-1])), "--port", port]

        def is_healthy() -> bool:
            return subprocess.run([*contained, *health], env=env, capture_output=True, check=False).returncode == 0

        assert subprocess.run([*contained, "touch", "/tmp/x"], env=env, capture_output=True, check=False).returncode
        words = [word.replace("/etc/rqsqs/keys.toml", str(keys)) for word in json.loads(instructions("CMD")[-1])]
        command = [*contained, *json.loads(instructions("ENTRYPOINT")[-1]), *words, "--port", port]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as gateway:
            try:
                assert gateway.stdout.readline().startswith("http://")
                assert is_healthy()
            finally:
                gateway.terminate()
        assert gateway.returncode == 0
        assert not is_healthy(), "it has ended"


def build_as_the_dockerfile_does(folder: Path, python: str) -> Path:
    """Carry out COPY and RUN of the first stage below a folder; return what is /opt/rqsqs in the image."""
    source, home = folder / "src", folder / "rqsqs"
    source.mkdir()
    for line in instructions("COPY"):
        if "--from" not in line:
            *names, target = line.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, source)
    build = instructions("RUN")[0].replace("/opt/rqsqs", str(home)).replace("python -m venv", f"{python} -m venv", 1)
    done = subprocess.run(["sh", "-ec", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home
