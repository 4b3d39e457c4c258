# make demo   install what is missing, bring the cluster up, prove every path with packets, take it down
# make test   the whole test suite (root, or sudo)
# make test-vm  tests on a distribution's kernel, booted in user space (root, or sudo)
# make lint   style, types, layers
# make bench  speed, beside bare Mininet and the netlink floor; throughput beside the same network made by hand; 100 Nodes
# make captures  the reference captures again
.PHONY: demo test test-vm lint bench captures install install-tests clean

TOPOLOGY ?= topologies/two-node-flannel-vxlan
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

demo: install
	.venv/bin/emu verify $(TOPOLOGY) --hops --output captures/runs/$(notdir $(TOPOLOGY))

test: install-tests lint
	$(ROOT) .venv/bin/pytest -n 3 --dist loadfile

test-vm: install-tests
	$(ROOT) tests/vm/run

lint: install-tests
	.venv/bin/ruff check emu tests bench
	.venv/bin/ruff format --check emu tests bench
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: install-tests
	$(ROOT) .venv/bin/python -m bench.bench
	$(ROOT) .venv/bin/python -m bench.byhand
	$(ROOT) .venv/bin/python -m bench.scale

captures: install
	$(ROOT) captures/reference/make.sh

install:
	@scripts/install

install-tests:
	@scripts/install --with-tests

clean:
	rm -rf .venv build *.egg-info captures/runs
