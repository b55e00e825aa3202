# make test   everything: lint, types, import directions, unit tests, tests on rehearsal hosts
# make demo   the whole of deployer, on a disposable host
#
# Both set up what they need: Debian packages (as root), and a virtual environment in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/pytest
SSLYZE := $(VENV)/sslyze/bin/sslyze
ANSIBLE := $(VENV)/ansible/bin/ansible

# What runs on hosts has to work with Python 3.8.
ON_EVERY_HOST := deployer/agent roles/websocket_app/files/until-it-answers roles/haproxy/files/static_files.py

# Files that use the same hosts stay together; tests/conftest.py says which begin first.
ON_HOSTS := $(PYTEST) -n 4 --dist loadfile -m "not slow and not services"

.PHONY: test lint unit hosts integration crash slow services demo docs reference findings setup clean machine images requisites sslyze ansible

test:
	@bash tests/all.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --target=3.8- --exclude-regex 'agent/bundle\.py$$' $(ON_EVERY_HOST)
	$(BIN)/python docs/words.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: setup
	$(PYTEST) tests/unit -n 4

# Both layers below in one run: no core idles while the last tests of the first one end.
hosts: requisites sslyze ansible
	$(ON_HOSTS) tests/integration tests/crash

integration: requisites sslyze ansible
	$(ON_HOSTS) tests/integration

# Commits interrupted at every step, of which `make test` tries a third, and at random;
# tests.crash.interrupt does more of the latter.
crash: machine setup
	EVERY_PLACE=yes $(ON_HOSTS) tests/crash

# What takes long, and is no part of `make test`: the same with other releases or larger numbers.
slow: requisites
	$(PYTEST) -n 4 --dist loadfile -m slow tests
	EVERY_RELEASE=yes $(ON_HOSTS) tests/integration/conformance

# Every ready playbook before its real service, with that service's own client, behind each proxy.
services: requisites setup
	@bash tests/machine.sh npm g++ make krb5-config=libkrb5-dev
	$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev,services]' \
	    --config-settings editable_mode=compat
	$(PYTEST) -n 2 --dist loadfile -m services tests

# Commands that tests on hosts use on this machine.
requisites: machine
	@bash tests/machine.sh nginx apache2=apache2-bin pebble chromium certutil=libnss3-tools zsh fish

# Built when they are needed; this is for those who want them before.
images: machine
	@$(PYTHON) -m tests.support.images

# It wants other versions of what we use, too: an environment of its own.
sslyze: $(SSLYZE)

$(SSLYZE): $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/sslyze
	$(VENV)/sslyze/bin/pip install -qq --disable-pip-version-check 'sslyze>=6.1'

# The real Ansible, which ours is compared with.
ansible: $(ANSIBLE)

$(ANSIBLE): $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/ansible
	$(VENV)/ansible/bin/pip install -qq --disable-pip-version-check 'ansible-core==2.19.*'

demo: machine setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/demo/demo.sh

# The documentation as a site, in build/site.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The pages that are generated from the program: commands, playbook keys, decisions, findings.
reference: findings
	$(BIN)/python docs/generate.py

findings: setup
	$(BIN)/python -m deployer.findings.write docs/findings

# Rehearsal hosts need a Linux, root, and a few tools; say so in one line, and install them on Debian.
machine:
	@bash tests/machine.sh

setup: $(VENV)/ready
	@$(BIN)/python -m compileall -q deployer

$(VENV)/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "make: deployer needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || bash tests/machine.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]' \
	    --config-settings editable_mode=compat
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
