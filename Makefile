# Everything a person does here. Works with GNU make 3.81 (macOS) and newer.
# A `## ...` after a target is its line in `make help`.

.DEFAULT_GOAL := help
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
LOCKED := pyproject.toml requirements/runtime.txt requirements/dev.txt requirements/build.txt tools/setup.sh

# Passed on to the command a target runs, for example: make demo ARGS="--path ~/src/flask"
ARGS :=

.PHONY: help
help: ## This list
	@echo "Usage: make TARGET [ARGS=\"...\"]"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "  %-9s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(VENV)/.ready-dev ## Make .venv with everything: the product, the tests, the checks

$(VENV)/.ready-runtime: $(LOCKED)
	@tools/setup.sh runtime

$(VENV)/.ready-dev: $(LOCKED)
	@tools/setup.sh dev

.PHONY: demo
demo: $(VENV)/.ready-runtime ## Run the main job end to end on this machine
	@$(BIN)/opscore demo $(ARGS)

.PHONY: test
test: $(VENV)/.ready-dev ## Run every test
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: uat
uat: $(VENV)/.ready-dev ## Run the acceptance scenarios of docs/uat.md
	@$(BIN)/python -m pytest -v tests/uat $(ARGS)

.PHONY: check
check: $(VENV)/.ready-dev ## Format, lint, types, import rules, tidiness, generated files
	@echo "check: format" && $(BIN)/ruff format --check --quiet .
	@echo "check: lint" && $(BIN)/ruff check --quiet .
	@echo "check: types" && $(BIN)/pyright --warnings
	@echo "check: import rules" && $(BIN)/lint-imports --no-cache --no-logo
	@echo "check: tidiness" && $(BIN)/python -m pytest -q tests/tidy
	@echo "check: generated documentation" && $(BIN)/python -m tools.generate --check
	@echo "check: all good"

.PHONY: fuzz
fuzz: $(VENV)/.ready-dev ## Send a real server, and the reader of templates, what nobody should (ARGS="--seconds 60")
	@$(BIN)/python -m tools.fuzz $(ARGS)

.PHONY: torture
torture: $(VENV)/.ready-dev ## Show that nothing is lost under faults (hours; ARGS="--dose ci": minutes)
	@$(BIN)/python -m tests.torture.run $(ARGS)

.PHONY: format
format: $(VENV)/.ready-dev ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: bench
bench: $(VENV)/.ready-dev ## Measure (minutes): throughput, latency, memory
	@$(BIN)/opscore bench $(ARGS)

.PHONY: docs
docs: $(VENV)/.ready-dev ## Write the generated parts of docs/
	@$(BIN)/python -m tools.generate

.PHONY: recording
recording: $(VENV)/.ready-dev ## Record the terminal session of the README anew
	@$(BIN)/python -m tools.recording

.PHONY: build
build: $(VENV)/.ready-dev ## Build the wheel and the source archive into dist/
	@rm -rf dist && $(BIN)/hatchling build

.venv-supply/.ready: requirements/supply.txt
	@rm -rf .venv-supply && "$$(tools/setup.sh python)" -m venv .venv-supply
	@.venv-supply/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/supply.txt
	@touch .venv-supply/.ready

.PHONY: sbom
sbom: .venv-supply/.ready ## List what the product is made of (CycloneDX) in dist/sbom.cdx.json; needs no network
	@tools/supply.sh sbom

.PHONY: audit
audit: .venv-supply/.ready ## Look for known holes in the locked packages (needs a database of them: network)
	@tools/supply.sh audit

.PHONY: lock
lock: requirements/lock.txt ## Resolve the dependencies again (ARGS=--upgrade for newer versions)
	@test -x .venv-lock/bin/uv || { "$$(tools/setup.sh python)" -m venv .venv-lock && \
		.venv-lock/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/lock.txt; }
	@tools/lock.sh .venv-lock/bin/uv $(ARGS)

.PHONY: clean
clean: ## Remove .venv, caches and build results
	rm -rf $(VENV) .venv-lock .venv-supply dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
