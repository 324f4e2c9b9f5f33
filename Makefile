# Lineside: make demo, make test, make check, make bench NAME=edge-opcua
SHELL := /bin/sh
PY := .venv/bin/python
.DEFAULT_GOAL := help
# Tests, the demo and benchmarks start hundreds of processes: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## A complete plant on this machine (DEMO_SECONDS=20 stops by itself)
	@sh deploy/demo.sh

.PHONY: test
test: servers ## Everything: lint, types, unit, contract, system and fault tests, on real servers
	@sh tests/run.sh

.PHONY: check
check: dev ## The inner loop: lint, types, import contracts, unit tests (a minute on two cores)
	@sh tests/check.sh

.PHONY: dev
dev: ## A virtual environment with everything that development needs
	@sh deploy/install.sh dev

.PHONY: servers
servers: dev ## The real servers and tools that tests use: Mosquitto, Java, Kafka, libmodbus, Spin
	@sh tests/servers/install.sh

.PHONY: bench
bench: dev ## Run one benchmark: NAME=edge-opcua | edge-modbus | cloud-ingest | edge-memory | command-latency …
	@$(PY) -m benchmarks "$(NAME)"

.PHONY: explore
explore: dev ## The unit tests with far more examples and histories: some hours
	@HYPOTHESIS_PROFILE=thorough $(PY) -m pytest tests/unit -q -n auto --timeout=0 -p no:cacheprovider

.PHONY: fuzz-api
fuzz-api: servers ## The whole API asked thirty times as much as in make test, something new each time: half an hour
	@HYPOTHESIS_PROFILE=thorough $(PY) -m pytest tests/contract/test_api_fuzz.py -q --timeout=0 -p no:cacheprovider

.PHONY: timescale
timescale: servers ## The tests on TimescaleDB, whose server in WebAssembly sometimes ends by itself
	@$(PY) -m pytest tests/timescale -q

.PHONY: test-services
test-services: dev ## Logins by a real Keycloak (Maven fetches it: 180 MB), which is not part of make test
	@$(PY) -m pytest tests/services -q

MINUTES ?= 10
.PHONY: soak
soak: servers ## Faults at random for MINUTES=10 (LOG=kafka|postgresql, SEED=n); fails when a sample is unexplained
	@$(PY) -m tests.faults.soak "$(MINUTES)" $(if $(LOG),--log "$(LOG)") $(if $(SEED),--seed "$(SEED)")

SEEDS ?= 2000
FROM ?= 0
.PHONY: simulate
simulate: dev ## Acknowledged delivery on simulated time, network and disk: SEEDS=2000 FROM=0, or one: SEED=n
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM) --jobs $$(nproc))

.PHONY: format
format: dev ## Format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

.PHONY: stubs
stubs: dev ## Make the protobuf stubs and the JSON Schema from their sources
	@$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. connectors/sparkplug/sparkplug_b.proto cloud_ingest/historian/samples.proto
	@$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. connectors/lineside_api/v1/commands.proto connectors/lineside_api/v1/data.proto connectors/lineside_api/v1/lines.proto
	@$(PY) -m edge_agent.config.schema

.PHONY: generated
generated: stubs ## Everything that is made from the code: stubs, schema, pages of the documentation
	@$(PY) -m docs.pages

.PHONY: lock
lock: ## Write constraints.txt anew from the versions that are allowed now
	@sh deploy/lock.sh

.PHONY: clean
clean: ## Remove what was made, except for the demo's data
	rm -rf .venv .servers .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
