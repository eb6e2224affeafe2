# What people and CI type here. The virtual environments are made when they are missing or out of date.

PYTHON ?= python3
VENV = .venv
LABEL_STUDIO_VENV = .venv-label-studio
PYTEST = $(VENV)/bin/python -m pytest
ARGS =
DATA = ../shared/data
PROFILE = fast
STUDIES =

# Label Studio is installed unless another one is named.
APP = $(VENV)/installed $(if $(LABEL_STUDIO_URL)$(LABEL_STUDIO_URL_FILE),,$(LABEL_STUDIO_VENV)/installed)
DEVELOPMENT = $(VENV)/installed-for-development $(LABEL_STUDIO_VENV)/installed
IN_PARALLEL = $(MAKE) --silent --jobs 2

# Threads that wait let others work: with tests on both cores, models compute three times as fast.
export OMP_WAIT_POLICY = passive

# A folder that is gone afterwards. A shell that a signal ends runs no EXIT trap of its own accord.
FOLDER = folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && trap 'exit 130' INT && trap 'exit 143' TERM
# Cases of DATA, or where none was named, and none is there, those of the demo.
READ = $(VENV)/bin/python -m webapp.casefiles "$(DATA)/$(1).jsonl" --out "$$folder/$(1).jsonl"
DEMO = $(VENV)/bin/python -m webapp.demo --out "$$folder" >/dev/null
HAS_CASES = { [ "$(origin DATA)" != file ] || [ -f "$(DATA)/helpline_cases.jsonl" ]; }
CASES = $(FOLDER) && if $(HAS_CASES); then echo "measuring the cases of $(DATA)" >&2; $(call READ,helpline_cases); \
	else echo "measuring the demo, as $(DATA) has no cases" >&2; $(DEMO); fi
COMPARE = $(VENV)/bin/python -m ml compare --profile $(PROFILE)

CHECKS = lint layout types imports migrations test
# Checks that only read the code need settings, though nothing that runs.
SETTINGS = DJANGO_SETTINGS_MODULE=tests.settings

.DEFAULT_GOAL = help
.PHONY: help run test check bench figures learning load traffic cycles chaos soak format audit clean app development browser $(CHECKS)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: app ## Set everything up and serve Caseloop; Ctrl-C stops it
	@exec $(VENV)/bin/python -m webapp.engines run

test: development browser ## Run the tests, or those that ARGS="..." names
ifeq ($(strip $(ARGS)),)
	@$(PYTEST) --numprocesses 2 -m "not e2e and not label_studio"
	@$(PYTEST) -m "e2e or label_studio"
else
	@$(PYTEST) $(ARGS)
endif

check: development ## Run what CI runs: every check, then every test
	@for step in $(CHECKS); do \
		echo "== $$step"; begun=$$(date +%s); \
		$(MAKE) --no-print-directory $$step || exit 1; \
		echo "== $$step took $$(($$(date +%s) - begun)) s"; \
	done

# ARGS="--rounds 1" is quick and rough
bench: development ## Compare speed with the reference path; DATA=FOLDER holds helpline_cases.jsonl
	@$(CASES) && $(VENV)/bin/python -m ml bench --data "$$folder"/helpline_*.jsonl $(ARGS)

figures: development ## Measure quality beside TF-IDF on the same DATA and on the demo; PROFILE=full for the other profile
	@$(CASES) && if [ -f "$(DATA)/helpline_ner.jsonl" ]; then $(call READ,helpline_ner); fi && \
	$(COMPARE) --data "$$folder"/helpline_*.jsonl $(ARGS)
	@$(FOLDER) && $(DEMO) && if $(HAS_CASES); then $(COMPARE) --data "$$folder/helpline_demo.jsonl" $(ARGS); fi && \
	$(COMPARE) --schema customer --data "$$folder/customer_demo.jsonl" $(ARGS)

# ARGS="--cases 1000 --thinking-seconds 30" is quick
load: development ## Let 20 reviewers work on 1,000 and on 100,000 cases, and print how long pages take
	@$(VENV)/bin/python -m tests.load $(ARGS)

# ARGS="posted --scale 0.01" does one part, a hundredth of its size
traffic: development ## Measure what other programs may ask: calls, posts, a conversation, imports and exports
	@$(VENV)/bin/python -m tests.load.traffic $(ARGS)

# ARGS="--minutes 3 --cases 200" is quick; --only speed leaves the faults out
soak: development browser ## Let annotators work in Label Studio while parts of Caseloop fail, and count what is stored
	@$(VENV)/bin/python -m tests.proof.soak $(ARGS)

# STUDIES="banking nlupp" does some; what is done is kept in var/learning
learning: development ## Do the studies of public data in DATA=FOLDER, and write docs/learning.md
	@$(FOLDER) && for name in helpline_cases helpline_ner; do \
		$(VENV)/bin/python -m webapp.casefiles "$(DATA)/$$name.jsonl" --out "$$folder/$$name.jsonl" || exit 1; done && \
	cp "$(DATA)"/banking77_*.jsonl "$(DATA)"/nlupp_banking.jsonl "$$folder" && \
	$(VENV)/bin/python -m ml learning --data "$$folder" --work var/learning --out docs/learning.md $(STUDIES)

# ARGS="--seeds 1" does one seed, ARGS="--profile full --cycles 1 --seeds 1" one full cycle; what is done is kept in var/cycles
cycles: development ## Turn the cycle five times on real cases of DATA=FOLDER, chosen by default and at random
	@$(CASES) && $(VENV)/bin/python -m tests.proof.cycles --data "$$folder"/helpline_*.jsonl $(ARGS)

# ARGS="--kills 2" kills less; ARGS="--points tasks-pushed" lets a process die there alone
chaos: development ## Kill processes of a Caseloop while it works, and count what is stuck, lost or double; an hour
	@$(VENV)/bin/python -m tests.proof.chaos $(ARGS)

format: development ## Format the code and sort its imports
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

audit: development ## Ask the package index for known holes in what we depend on
	@$(VENV)/bin/pip-audit -r requirements.txt

clean: ## Remove what tests have left in var
	rm -rf var/test-*

lint: development
	@$(VENV)/bin/ruff check .

layout: development
	@$(VENV)/bin/ruff format --check .

types: development
	@$(SETTINGS) $(VENV)/bin/mypy

imports: development
	@$(VENV)/bin/lint-imports

migrations: development
	@$(SETTINGS) $(VENV)/bin/python -W ignore manage.py makemigrations --check --dry-run

# --- Virtual environments: two at a time, because each takes minutes -----------------------------------------------------

app:
	@$(IN_PARALLEL) $(APP)

development:
	@$(IN_PARALLEL) $(DEVELOPMENT)

# The stamp comes last, so that an installation that was interrupted goes on the next time.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "expected Python 3.11 or later, found $$($(PYTHON) --version); name one with make PYTHON=python3.12"; exit 1; }
@echo "Installing $< into $(@D); the first time takes minutes"
@{ while sleep 30 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do echo "  still installing into $(@D)"; done; } & told=$$!; \
	trap "kill $$told 2>/dev/null" EXIT; \
	umask 022 && $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install -qq --disable-pip-version-check -r $<
@touch $@
endef

$(VENV)/installed: requirements.txt
	$(install)

$(VENV)/installed-for-development: requirements-dev.txt requirements-mlflow.txt $(VENV)/installed
	$(install)

$(LABEL_STUDIO_VENV)/installed: requirements-label-studio.txt
	$(install)

# The end-to-end tests drive Chromium. Where it cannot be installed they are skipped, or fail when CI is set.
browser:
	@if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "Installing Chromium"; \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes chromium; } </dev/null >/dev/null; \
	fi || echo "Chromium could not be installed: the end-to-end tests will say so"
