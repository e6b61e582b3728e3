# Every chore of the project, one name each. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# Tests that need no federation of processes, container or cluster.
FAST := not federation and not images and not compose and not kubernetes and not monitoring
LOCK_FLAGS := --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: ## Make .venv with every extra, from the hash-checked lock
	@scripts/make-environment.sh

.PHONY: deploy-tools
deploy-tools: ## Make .venv-deploy: linters and checkers of what is deployed, hash-checked
	@scripts/deploy-tools.sh

.PHONY: run
run: install ## The main job on this machine: train over sites, register, serve
	$(BIN)/fedrisk up

.PHONY: test
test: install ## Run the tests, except those that start a federation of processes
	@scripts/ensure-command.sh java default-jre-headless # for the tests that run Spark
	@scripts/ensure-command.sh promtool prometheus # for the tests of alerting rules
	@scripts/ensure-command.sh amtool prometheus-alertmanager # for those of their routes
	$(BIN)/pytest -m "$(FAST)"

.PHONY: coverage
coverage: install ## The tests again, counting lines and branches: a table, and dist/coverage.xml
	@scripts/ensure-command.sh java default-jre-headless
	@scripts/ensure-command.sh promtool prometheus
	@scripts/ensure-command.sh amtool prometheus-alertmanager
	$(BIN)/pytest -m "$(FAST)" --cov --cov-report=term:skip-covered --cov-report=xml:dist/coverage.xml

.PHONY: e2e
e2e: install ## Run the tests that start a federation of processes (minutes)
	$(BIN)/pytest -m "federation and not hosts"

.PHONY: e2e-monitoring
e2e-monitoring: install ## A real Prometheus by deploy/prometheus: every rule and every dashboard's query
	@scripts/ensure-command.sh prometheus prometheus
	$(BIN)/pytest -m monitoring tests/deploy

.PHONY: e2e-federation
e2e-federation: install ## A federation of four hosts: joins, kills, drop-outs, refusals (root)
	@# With FEDRISK_REQUIRE_HOSTS=1 it fails, instead of skipping, where no hosts can be made.
	@scripts/ensure-command.sh ip iproute2
	$(BIN)/pytest -m hosts

.PHONY: e2e-images
e2e-images: install ## Build the images and run them hardened (minutes; podman or Docker)
	@tests/deploy/containers.sh
	$(BIN)/pytest -m images tests/deploy/test_images_running.py

.PHONY: images
images: ## Build the images of every role, tagged by git
	@scripts/build-images.sh

.PHONY: e2e-kubernetes
e2e-kubernetes: install ## The whole on the cluster of KUBECONFIG (half an hour; needs kubectl)
	@# FEDRISK_LOAD_IMAGES names a command that loads images: then they are built and loaded first.
	@tests/kubernetes/prepare.sh
	@eval "$$(tests/kubernetes/prepare.sh --tags)"; $(BIN)/pytest -m kubernetes -s -x tests/kubernetes

.PHONY: e2e-compose
e2e-compose: install deploy-tools ## The composed federation in containers: train, predict, kill, come back (docker or podman)
	@tests/deploy/containers.sh
	@# FEDRISK_TAG names images that are there; without it they are built.
	[[ -n "$${FEDRISK_TAG:-}" ]] || scripts/build-images.sh
	$(BIN)/pytest -s -m compose tests/deploy

.PHONY: check
check: install ## Formatting, lint, types, import rules, and rules of the tree
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/structure

.PHONY: check-deploy
check-deploy: install deploy-tools ## Workflows, scripts, images, manifests, rules and dashboards, without running any
	$(BIN)/pytest -q -m "$(FAST)" tests/deploy tests/kubernetes

.PHONY: audit
audit: deploy-tools ## Known vulnerabilities in what the locks pin (asks osv.dev)
	@scripts/audit.sh

.PHONY: licences
licences: install deploy-tools ## Licences of everything that is installed, against locks/licences.toml
	@$(BIN)/python scripts/licences.py --report dist/licences.md

.PHONY: sbom
sbom: install deploy-tools ## A bill of materials of what the locks install: dist/fedrisk.cdx.json
	@scripts/sbom.sh

.PHONY: dist
dist: install ## The package, as a wheel and a source archive, the same bytes from the same commit
	@scripts/build-package.sh

.PHONY: format
format: install ## Rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: install ## Print the figures of every benchmark
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

.PHONY: bench-federation
bench-federation: install ## What a round costs, beside stock Flower and NVFLARE (half an hour)
	$(BIN)/python benchmarks/federation/compare.py --nvflare

.PHONY: bench-profiles
bench-profiles: install ## A million rows profiled, beside Evidently; a thousand profiles merged (minutes)
	$(BIN)/python benchmarks/profiles.py

.PHONY: bench-drift
bench-drift: install ## Every scenario with known truth: delay, false alarms, diagnosis, action, harm (minutes)
	$(BIN)/python benchmarks/drift/scenarios.py

.PHONY: bench-serving
bench-serving: install ## The API beside a bare echo, a plain handler and MLServer (minutes; needs wrk)
	$(BIN)/python benchmarks/serving/side_by_side.py --mlserver

.PHONY: swaps
swaps: install ## A thousand swaps of the model under full load (minutes)
	$(BIN)/python benchmarks/serving/swaps.py

.PHONY: soak
soak: install ## Ten minutes of everything at once against the API: memory flat, every answer right
	$(BIN)/python benchmarks/serving/soak.py

.PHONY: proto
proto: install ## Generate gRPC's messages anew from their .proto
	@scripts/generate-proto.sh

.PHONY: lock
lock: install ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras $(LOCK_FLAGS) --upgrade --output-file requirements.lock
	$(BIN)/uv pip compile locks/bootstrap.in --constraint requirements.lock $(LOCK_FLAGS) --output-file locks/bootstrap.txt
	$(BIN)/uv pip compile locks/deploy.in --python-version 3.11 $(LOCK_FLAGS) --upgrade --output-file locks/deploy.txt
	@scripts/lock-images.sh

.PHONY: lock-images
lock-images: install ## Resolve what each image holds into locks/images, by requirements.lock
	@scripts/lock-images.sh

.PHONY: clean
clean: ## Remove the environment, caches and build products; homes stay
	rm -rf .venv .venv-deploy dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
