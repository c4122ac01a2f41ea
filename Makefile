# Four words run everything, on a fresh machine too: demo, test, check, bench. The others are for now and then.
#
# Each sets up what it needs in .venv: `demo` only what users install, the others also the tools of development.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

VERSIONS := 3.11 3.12 3.13 3.14

CHECKS := ruff mypy mypy-windows mypy-macos pyright

# On all cores. Tests take very different times, so whoever has nothing left takes some of another's.
TOGETHER := --numprocesses auto --dist worksteal

.PHONY: help demo test test-all check $(CHECKS:%=check-%) bench pictures kills fuzz many clean

help:
	@echo "make demo    phone verification on http://127.0.0.1:7071 (ARGS='--port 8000' to change)"
	@echo "make test    all tests"
	@echo "make test-all  the same on each Python there is, of $(VERSIONS)"
	@echo "make check   format, lint and types"
	@echo "make bench   ours and its peers, in turns (an hour; ARGS=--quick takes minutes)"
	@echo "make pictures  the README's pictures, taken anew"
	@echo "make kills   200 verifications, each with a kill -9 at a random moment"
	@echo "make fuzz    Schemathesis over the whole API, more than 20,000 cases"
	@echo "make many    100,000 strange arguments, at every door of a hub (ARGS='--db postgresql://...')"
	@echo "make clean   remove $(VENV) and caches"

demo: $(VENV)/.installed
	@$(BIN)/bide demo $(ARGS)

test: $(VENV)/.installed-dev chromium postgresql
	$(BIN)/pytest -m "not kill and not browser and not postgres and not package" $(TOGETHER)
	$(BIN)/pytest -m postgres $(TOGETHER)
	$(BIN)/pytest -m "kill and not postgres" $(TOGETHER)
	$(BIN)/pytest -m browser $(TOGETHER)
	$(BIN)/pytest -m package

# A name on the path may be one of pyenv's that leads to no interpreter, so each is asked.
test-all:
	@for version in $(VERSIONS); do \
		if ! python$$version -c '' 2>/dev/null; then missing="$$missing $$version"; \
		elif $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version; then passed="$$passed $$version"; \
		else failed="$$failed $$version"; fi; \
	done; \
	echo "passed:$${passed:- none}; failed:$${failed:- none}; not on this machine:$${missing:- none}"; \
	[ -n "$$passed" ] && [ -z "$$failed" ]

# No check needs what another one finds, so they run side by side; what each says stays together.
check: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory --jobs --output-sync=target $(CHECKS:%=check-%)

check-ruff:
	$(BIN)/ruff format --check
	$(BIN)/ruff check

check-mypy:
	$(BIN)/mypy

check-mypy-windows:
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src

check-mypy-macos:
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src

check-pyright:
	$(BIN)/pyright

bench: $(VENV)/.installed-dev
	$(BIN)/python bench/run.py $(ARGS)

pictures: $(VENV)/.installed-dev chromium
	$(BIN)/python scripts/pictures.py $(ARGS)

kills: $(VENV)/.installed-dev
	$(BIN)/pytest -m kill -s tests/kill/test_random_kills.py --kill-runs=200

fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/run.py --max-examples 950 $(ARGS)

many: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bulkheads.many --cases 100000 $(ARGS)

clean:
	rm -rf $(VENV) .venv-3.* .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[fast]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@ $(VENV)/.installed

# Debian ships Python without ensurepip; its package python3-venv brings it.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Bide needs Python 3.11 or later. Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory install-venv
	$(PYTHON) -m venv $(VENV)

.PHONY: install-venv
install-venv:
	@if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	elif command -v sudo >/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv; \
	else echo "Python's venv module is missing. As root: apt-get install python3-venv"; exit 1; fi

# The browser tests need a Chromium. Where there is none and none can be installed, they are skipped, and say so.
.PHONY: chromium
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || [ -n "$$BIDE_CHROMIUM" ] || $(MAKE) --no-print-directory install-chromium

.PHONY: install-chromium
install-chromium:
	@if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	elif command -v sudo >/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq chromium >/dev/null; fi \
	|| true
	@command -v chromium >/dev/null \
	|| echo "There is no Chromium, so the browser tests will be skipped. Install one, or name it: BIDE_CHROMIUM=/path"

# The tests of PostgreSQL need its programs. Where there are none and none can be installed, they are skipped, and say so.
HAS_POSTGRESQL = $(BIN)/python -c 'import sys; from tests.postgres.server import find_binaries; sys.exit(not find_binaries())'

.PHONY: postgresql
postgresql: $(VENV)/.installed-dev
	@[ -n "$$BIDE_POSTGRES_BIN" ] || $(HAS_POSTGRESQL) || $(MAKE) --no-print-directory install-postgresql

# The tests start servers of their own. Debian's package would start one too; while we install it, it is told not to.
NO_CLUSTER := /etc/postgresql-common/createcluster.d/bide.conf
define INSTALL_POSTGRESQL
	mkdir -p $(dir $(NO_CLUSTER)) && echo "create_main_cluster = false" >$(NO_CLUSTER) \
	&& apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; rm -f $(NO_CLUSTER)
endef

.PHONY: install-postgresql
install-postgresql:
	@command -v apt-get >/dev/null || exit 0; \
	if [ "$$(id -u)" = 0 ]; then sh -c '$(INSTALL_POSTGRESQL)'; \
	elif command -v sudo >/dev/null; then sudo sh -c '$(INSTALL_POSTGRESQL)'; fi \
	|| true
	@$(HAS_POSTGRESQL) \
	|| echo "There is no PostgreSQL, so its tests will be skipped. Install one, or name it: BIDE_POSTGRES_BIN=/path"
