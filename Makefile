# Everything from nothing: the first target you run makes the virtual environment, later ones reuse it.
#
#   make test                      make test PYTEST_ARGS='-x tests/unit'
#   make demo                      make test PYTHON=python3.13 VENV=.venv-313

PYTHON      ?= python3
VENV        ?= .venv
PYTEST_ARGS ?= -n auto
AIO_ARGS    ?=
BENCH_ARGS  ?=
BIN         := $(VENV)/bin
STAMP       := $(VENV)/.rqsqs-installed

unexport PYTHONDONTWRITEBYTECODE # or every process that tests start compiles everything again

.DEFAULT_GOAL := help
.PHONY: help install test test-cluster test-aiobotocore test-opentelemetry test-oldest test-faults test-clients soak demo demo-php screenshots lint format sync fault-report bench bench-scaling coverage clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Make the virtual environment with everything in it

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

test: $(STAMP) ## Run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-cluster: $(STAMP) ## Run the tests on a cluster of three masters and three replicas
	RQSQS_TEST_CLUSTER=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

# aiobotocore wants a botocore of its own, so it has an environment of its own.
$(VENV)-aio/.rqsqs-installed: pyproject.toml
	test -x $(VENV)-aio/bin/python || $(PYTHON) -m venv $(VENV)-aio
	$(VENV)-aio/bin/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,opentelemetry]' \
		aioboto3 opentelemetry-sdk 'pytest>=8.2' 'pytest-timeout>=2.3'
	@touch $@

test-aiobotocore: $(VENV)-aio/.rqsqs-installed ## Run the tests of clients of aiobotocore and aioboto3
	$(VENV)-aio/bin/python -X dev -m pytest $(AIO_ARGS) tests/aiobotocore

$(VENV)-oldest/.rqsqs-installed: pyproject.toml
	test -x $(VENV)-oldest/bin/python || $(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]' \
		$$($(PYTHON) -m tests.oldest boto3 cli gateway console opentelemetry) \
		opentelemetry-sdk==1.30 'hypothesis>=6.100' 'pytest>=8.2' 'pytest-timeout>=2.3' 'pytest-xdist>=3.6'
	@touch $@

# Instrumentations of others go together with one version of the SDK each.
$(VENV)-otel/.rqsqs-installed: pyproject.toml
	test -x $(VENV)-otel/bin/python || $(PYTHON) -m venv $(VENV)-otel
	$(VENV)-otel/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[boto3,embedded,cli,gateway,opentelemetry]' 'hypothesis>=6.100' 'pytest>=8.2' 'pytest-timeout>=2.3' \
		'pytest-xdist>=3.6' opentelemetry-propagator-aws-xray opentelemetry-distro==0.66b1 \
		opentelemetry-instrumentation-boto3sqs==0.66b1 opentelemetry-instrumentation-botocore==0.66b1
	@touch $@

test-opentelemetry: $(VENV)-otel/.rqsqs-installed ## Run the tests of OpenTelemetry, beside instrumentations of others
	$(VENV)-otel/bin/python -m pytest $(PYTEST_ARGS) -rs tests/telemetry

test-oldest: $(VENV)-oldest/.rqsqs-installed ## Run the tests with the oldest dependencies that are declared
	$(VENV)-oldest/bin/python -m pytest $(PYTEST_ARGS)

test-faults: $(STAMP) ## Kill, cut off and freeze fleets of processes, on servers and clusters
	RQSQS_TEST_FAULTS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/faults

test-clients: $(STAMP) ## Install SQS clients of other languages, where pip and npm have them, and run their programs
	$(BIN)/python -m tests.clients.tools
	RQSQS_TEST_CLIENTS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -rs tests/clients tests/deployment

fault-report: $(STAMP) ## Break things for long, and write what was seen to docs/guarantees.md
	rm -f .fault-report
	RQSQS_FAULT_REPORT=.fault-report RQSQS_TEST_FAULTS=1 RQSQS_CHAOS_SECONDS=$${RQSQS_CHAOS_SECONDS:-10} \
		RQSQS_FAILOVERS=$${RQSQS_FAILOVERS:-25} $(BIN)/python -m pytest tests/faults/test_chaos.py tests/faults/test_sentinels.py
	RQSQS_FAULT_REPORT=.fault-report $(BIN)/python -m tests.faults.report
	rm .fault-report

soak: $(STAMP) ## Drive the models for ten minutes each (RQSQS_SOAK_SECONDS=600)
	RQSQS_SOAK_SECONDS=$${RQSQS_SOAK_SECONDS:-600} $(BIN)/python -m pytest tests/model -s -k valkey -n 2

demo: $(STAMP) ## Show rqsqs at work on an embedded server
	$(BIN)/rqsqs demo

demo-php: $(STAMP) ## Let Laravel and Python work on one cache (docs/clients/php.md says what PHP needs)
	$(BIN)/python examples/clients/php/demo.py

screenshots: $(STAMP) ## Make the pictures of docs/console.md again
	mkdir -p .screenshots
	RQSQS_SCREENSHOTS=.screenshots $(BIN)/python -m pytest -q tests/console/test_in_chromium.py -k dead_letters
	for name in queues message dead-letters server; do mv .screenshots/$$name-laptop-light.png docs/images/console-$$name.png; done
	mv .screenshots/queue-phone-dark.png docs/images/console-queue-phone.png
	rm -r .screenshots

lint: $(STAMP) ## Check style, types, scripts (luacheck, if it is installed) and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/unasync.py --check
	$(BIN)/python tools/console_permissions.py --check
	$(BIN)/mypy
	if command -v luacheck >/dev/null; then luacheck --quiet lua; else echo "luacheck is not installed"; fi
	$(BIN)/zizmor --offline --quiet .github

format: $(STAMP) ## Put the code in its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sync: $(STAMP) ## Make the sync API (rqsqs/_sync) from the asyncio API (rqsqs/_async)
	$(BIN)/python tools/unasync.py

# Other queues want older packages than we do, so they have an environment of their own. What cannot be installed is left
# out of the results.
$(VENV)-bench/.rqsqs-installed: pyproject.toml
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix $(VENV)-bench bullmq ioredis || true; fi
	@touch $@

bench: $(VENV)-bench/.rqsqs-installed ## Measure, write docs/performance.md, docs/scaling.md and charts (BENCH_ARGS=--quick only prints)
	$(VENV)-bench/bin/python -m benchmarks $(or $(BENCH_ARGS),--write docs)

bench-scaling: $(VENV)-bench/.rqsqs-installed ## Measure growth alone, and print it
	$(VENV)-bench/bin/python -m benchmarks scaling $(BENCH_ARGS)

coverage: $(STAMP) ## Run the tests and show what they did not reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

clean: ## Remove what was made, the virtual environment included
	rm -rf $(VENV) $(VENV)-aio $(VENV)-otel $(VENV)-oldest .clients build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.clients/*' -prune -exec rm -rf {} +
