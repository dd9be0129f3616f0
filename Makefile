# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PYTHON=…  the interpreter to make .venv with (default: python3)
# ARGS=…    further arguments: of ansible-playbook (audit, demo), of pytest (unit, lab-test) or of scripts/lab (lab, lab-shell)
export PYTHON
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-run audit demo test lint unit sanity docs bench lab lab-shell lab-down lab-test lab-setup lab-backport lab-kernel lab-dpdk matrix clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: ## make .venv with everything that developing and testing needs
	@scripts/setup test

setup-run:
	@scripts/setup run

audit: setup-run ## audit this machine; says where the report is
	@scripts/audit -i localhost, -c local $(ARGS)

demo: setup-run ## audit the example fleet: more than 50 recorded and synthesised hosts, no network
	@scripts/audit -i examples/fleet/inventory.yml $(ARGS)

test: setup lab-setup ## everything that CI runs
	@scripts/test

lint: setup ## linters and type checks only
	@scripts/test lint

unit: setup ## unit tests only, with the main ansible-core
	@scripts/test unit $(ARGS)

sanity: setup ## ansible-test sanity only
	@scripts/test sanity

docs: setup ## check the documentation of modules, plugins, roles and the changelog
	@scripts/test docs

bench: setup ## the benchmarks; see tests/benchmarks/README.md
	@scripts/bench

lab-setup:
	@scripts/setup lab

lab: lab-setup ## boot a VM with an emulated MANA NIC and audit it
	@scripts/lab check $(ARGS)

lab-shell: lab-setup ## boot such a VM, leave it running and say how to log in
	@scripts/lab shell $(ARGS)

lab-down: setup-run ## end the VMs that lab-shell left running
	@scripts/lab down --all

lab-test: setup lab-setup ## all tests that boot VMs, also those that CI leaves out
	@scripts/test lab $(ARGS)

lab-backport: setup lab-setup ## Debian 12 reaches rdma by a backport in a VM, and goes back
	@scripts/test lab tests/vm/test_backport.py

lab-kernel: setup lab-setup ## Debian 12 reaches rdma by a newer kernel, and comes back from kernels that fail
	@scripts/test lab tests/vm/test_kernel.py tests/vm/test_boot_guard.py

lab-dpdk: setup lab-setup ## DPDK forwards on the emulated NIC, and the NIC goes back to the kernel
	@scripts/test lab tests/vm/test_dpdk_port.py

matrix: setup lab-setup ## what CI leaves out: more kernels, more releases, more faults
	@scripts/test matrix $(ARGS)

clean: ## remove everything that make made
	@[ ! -d .cache/lab/run ] || [ ! -x .venv/bin/python ] || scripts/lab down --all
	rm -rf .venv .cache .ansible accelnet-reports tests/output
