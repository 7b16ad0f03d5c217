# make demo   the demo grid (make demo ARGS=--once exits after the crossing)
# make test   everything that CI checks
# make check  formatting, lint, types, imports      make tests  the test-suite      make bench  the benchmarks
# make fuzz   every codec against any bytes, five minutes each
# make oracle   the same calls to DIRAC's own services and to ours, 20,000 of them
# make schemathesis   every REST operation against its document, ten minutes

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS ?=

.PHONY: demo test check tests bench quick-bench oracle fuzz schemathesis clients methods clean require-python

demo: $(VENV)/.installed
	@exec $(BIN)/wherry demo $(ARGS)

test: check tests quick-bench

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: $(VENV)/.installed-test clients
	$(BIN)/pytest -n auto --dist worksteal $(TESTS)  # neighbours stay together, with the grid that they share

quick-bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/diset.py --quick
	$(BIN)/python benchmarks/codec.py --quick
	$(BIN)/python benchmarks/database.py --quick
	$(BIN)/python benchmarks/matching.py --quick
	$(BIN)/python benchmarks/methods.py --quick
	$(BIN)/python benchmarks/rest.py --quick
	$(BIN)/python benchmarks/large_replies.py --quick
	$(BIN)/python benchmarks/idle.py --quick
	$(BIN)/python benchmarks/backends.py --quick

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/diset.py
	$(BIN)/python benchmarks/codec.py
	$(BIN)/python benchmarks/database.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/rest.py --diracx
	$(BIN)/python benchmarks/rest.py --engine mariadb
	$(BIN)/python benchmarks/large_replies.py
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/backends.py
	$(BIN)/python benchmarks/workers.py

# Nightly: every fuzz target for so many seconds; stops at the first broken promise (tests/fuzz/run.py).
FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?= dencode jencode diset-server diset-client msgpack grpc xmlrpc dirac-https

fuzz: $(VENV)/.installed-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@set -e; for target in $(FUZZ_TARGETS); do echo "== $$target"; \
	  $(BIN)/python tests/fuzz/run.py $$target -max_total_time=$(FUZZ_SECONDS); done

# Nightly: as with the tests, but for longer; any seed.
SCHEMATHESIS_SECONDS ?= 600

schemathesis: $(VENV)/.installed-test
	WHERRY_SCHEMATHESIS_SECONDS=$(SCHEMATHESIS_SECONDS) WHERRY_SCHEMATHESIS_SEED=$$(date +%Y%m%d) \
	  $(BIN)/pytest tests/rest_backend/test_schemathesis.py

# The same calls to DIRAC's own services and to ours, more than the tests make and others every time.
ORACLE_CALLS ?= 20000

oracle: $(VENV)/.installed-test clients
	WHERRY_ORACLE_CALLS=$(ORACLE_CALLS) $(BIN)/pytest -n auto tests/oracle

# Unmodified DIRAC clients, each in an environment of its own; made once.
clients: $(VENV)/.installed-test
	$(BIN)/python tests/clients/build.py || test -z "$$CI"  # elsewhere the tests that need them are skipped

$(VENV)/.installed: setup.cfg pyproject.toml | require-python
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "python3 cannot make virtual environments: install venv (Debian: apt-get install python3-venv)" >&2; exit 1; }; }
	@echo "Installing wherry"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what tests and checks need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

require-python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 1; }
	@command -v git >/dev/null || { echo "git is missing: install it" >&2; exit 1; }

# The part of the methods' reference that is drawn from the records.
methods: $(VENV)/.installed
	$(BIN)/python -m wherry.methods docs/reference/methods.md README.md
	$(BIN)/wherry proto docs/reference/proto

clean:
	rm -rf $(VENV) .clients var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
