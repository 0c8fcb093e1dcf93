# `make` or `make help` lists the targets. They need Python 3.11 or newer and make; everything else is installed.
.DEFAULT_GOAL := help
.PHONY: help run gateway test test-all mutants-ledger mutants-approvals focus promtool matrix fuzz e2e bench bench-usage reconcile-faults screenshots check fmt lock chromium nginx

PYTHON3 ?= python3
# One more than two cores: tests wait for servers and browsers.
PYTEST_WORKERS ?= 3
CHECK_JOBS ?= 2
PYTEST_ARGUMENTS ?=
BENCH_ARGUMENTS ?=

# A run starts a hundred Python processes; without their bytecode each compiles the portal for itself.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTHON := $(BIN)/python
# The lock names every package, so nothing is left to resolve: a newer release of one must not change the answer.
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
# A stamp stands for "these requirements are installed"; those for development contain those for running.
RUN := .venv/.installed
DEVELOP := .venv/.installed-dev
PROMTOOL := .local/prometheus/usr/bin/promtool
NGINX := .local/nginx/usr/lib/nginx/modules/ngx_http_js_module.so
# Fetches packages of Debian as root and unpacks them under .local; nothing is installed, and no service starts.
UNPACK = { [ "$$(id -u)" = 0 ] && mkdir -p .local/$(1) && cd .local/$(1) && apt-get update -qq \
	&& apt-get download -qq $(2) && for package in *.deb; do dpkg -x "$$package" . || exit 1; done && rm *.deb; }
TEMPLATES = $(shell find templates -name '*.html' 2>/dev/null)

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

run: $(RUN) ## Start everything on this machine: database, queue, web, worker, beat. PORT sets the port
	@exec $(PYTHON) manage.py up --stop-with-parent

gateway: $(RUN) ## Start LiteLLM in an environment of its own, in front of a fake provider, for the portal that runs here
	@PORT=$${PORT:-$$(cat .local/port 2>/dev/null || echo 8000)} exec $(PYTHON) manage.py gateway_up

test: $(DEVELOP) chromium nginx ## Run every test but the long ones, the end-to-end path included
	$(PYTHON) -m pytest -n $(PYTEST_WORKERS) -m "not full" --durations=15 $(PYTEST_ARGUMENTS)

test-all: $(DEVELOP) chromium nginx ## Run every test
	$(PYTHON) -m pytest -n $(PYTEST_WORKERS) --durations=30 $(PYTEST_ARGUMENTS)

mutants-ledger: $(DEVELOP) ## Seed bugs into decisions and books, one by one, and name the test that notices each
	$(PYTHON) -m pytest -p tests.ledger.seeding -n 0 -q tests/ledger/test_machine.py tests/gateway -m "not full" $(PYTEST_ARGUMENTS)

matrix: $(DEVELOP) ## Ask every page, form and operation as every role, and hold the answers against the tables
	$(PYTHON) -m pytest -p tests.matrix -n 0 -q tests/api/test_matrix.py tests/portal/test_matrix.py $(PYTEST_ARGUMENTS)

fuzz: $(DEVELOP) ## Call the API with all that its OpenAPI document allows and forbids, 2,000 times and more
	$(PYTHON) -m pytest -n 0 -q -m full tests/api/test_fuzz.py $(PYTEST_ARGUMENTS)

# Rules, guards, races and pages of the life of a request, then the machine that tries every order of acts.
APPROVALS := $(addprefix tests/approvals/test_,policy.py guards.py guards_increases.py decide.py stages.py delegation.py life.py extension.py break_glass.py increases.py increases_lent.py increases_life.py races.py ruling.py ruling_stricter.py machine.py) tests/portal/test_slack.py tests/portal/test_leaving.py

mutants-approvals: $(DEVELOP) ## Seed bugs into approvals, one by one, and name the test that notices each
	$(PYTHON) -m pytest -p tests.approvals.seeding -n 0 -q $(APPROVALS) -m "not full" $(PYTEST_ARGUMENTS)

e2e: $(DEVELOP) chromium ## Run the main job from the request to the revoked key, and print its table
	$(PYTHON) -m pytest tests/e2e -n 0 -s -q $(PYTEST_ARGUMENTS)

bench: $(DEVELOP) ## Measure everything of docs/performance.md; BENCH_ARGUMENTS="T1 T4" or --quick for less
	$(PYTHON) -m bench $(BENCH_ARGUMENTS)

bench-usage: $(DEVELOP) ## Measure ingest, dashboards and their memory; BENCH_ARGUMENTS="--events 1000000 U2" for less
	$(PYTHON) -m bench.usage $(BENCH_ARGUMENTS)

reconcile-faults: $(DEVELOP) ## Put every kind of fault into 14 days of traffic and print what the reconciliation finds
	$(PYTHON) -m pytest -n 0 -q -s -m full tests/usage/test_reconcile_faults.py $(PYTEST_ARGUMENTS)

screenshots: $(DEVELOP) chromium ## Take the pictures of the README from demo data
	$(PYTHON) docs/screenshots/take.py

focus: $(DEVELOP) .local/focus/.installed ## Validate the FOCUS export of demo data with the validator of the specification
	$(PYTHON) -m tests.focus.validate

promtool: $(DEVELOP) ## Check /metrics, the rules and their tests with promtool; as root on Debian it is fetched
	@[ -x "$(PROMTOOL)" ] || $(call UNPACK,prometheus,prometheus) || true
	$(PYTHON) -m pytest -n 0 -q -rs tests/portal/test_promtool.py $(PYTEST_ARGUMENTS)

check: $(DEVELOP) ## Check style, types, import rules, migrations and the house rules
	@$(MAKE) --no-print-directory --jobs=$(CHECK_JOBS) --output-sync=target $(CHECKS)

# The types take longest, so they come first and the others run beside them.
CHECKS := check-types check-house check-imports check-style
.PHONY: $(CHECKS)

check-types:
	$(BIN)/mypy

check-house:
	$(PYTHON) manage.py check --fail-level WARNING
	$(PYTHON) -m pytest tests/house -q

check-imports:
	$(BIN)/lint-imports --no-logo

check-style:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml approvals budgets catalog core gateway keys portal teams usage
	$(if $(TEMPLATES),$(BIN)/djade --check --target-version 5.2 $(TEMPLATES))

fmt: $(DEVELOP) ## Format Python and templates
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format
	-$(if $(TEMPLATES),$(BIN)/djade --target-version 5.2 $(TEMPLATES))

lock: $(DEVELOP) ## Write requirements.txt and requirements-dev.txt from their sources, with hashes
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) gateway/plugins/litellm/requirements.in -o gateway/plugins/litellm/requirements.txt

chromium: ## Install Chromium for the browser tests, as root on Debian; elsewhere say what is missing
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qqy --no-install-recommends chromium; } \
	|| echo "Chromium is missing, so the browser tests will be skipped. Install the package 'chromium'."

nginx: ## Fetch nginx for the tests of its gateway, as root on Debian; elsewhere say what is missing
	@[ -e "$(NGINX)" ] || [ -e "/$(NGINX:.local/nginx/%=%)" ] || $(call UNPACK,nginx,nginx nginx-common libnginx-mod-http-js) \
	|| echo "nginx is missing, so its tests will be skipped. Install the packages 'nginx' and 'libnginx-mod-http-js'."

$(PYTHON):
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Purser needs Python 3.11 or newer; set PYTHON3 to one, for example: make run PYTHON3=python3.12"; exit 1; }
	$(PYTHON3) -m venv .venv

$(RUN): requirements.txt | $(PYTHON)
	$(INSTALL) --requirement requirements.txt
	@touch $@

$(DEVELOP): requirements-dev.txt requirements.txt | $(PYTHON)
	$(INSTALL) --requirement requirements-dev.txt
	@touch $(RUN) $@

.local/focus/.installed: tests/focus/requirements.txt
	$(PYTHON3) -m venv .local/focus/venv
	.local/focus/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement $<
	@touch $@
