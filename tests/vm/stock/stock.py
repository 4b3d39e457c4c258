"""What the tests share that want a kernel of their own, to load modules into (`make test-vm`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from proving import shell

from emu.kernel import process, programs
from emu.report.text import trace_text
from emu.testbed.facade import Testbed

#: Set by the first process of that kernel.
alone = pytest.mark.skipif("EMU_STOCK_KERNEL" not in os.environ, reason="wants a kernel of its own: make test-vm")
TOPOLOGIES = Path(__file__).parents[3] / "topologies"
#: Debian's user-mode-linux is built without nf_tables for IP.
WITHOUT_NF_TABLES = {"iptables": "legacy"}
#: Modules that iptables-legacy has the kernel load: no list of ours names them.
OF_LEGACY = ("iptable_", "ip6table_", "ip_tables", "ip6_tables", "bpfilter", "xt_tcpudp")


def proven(lab: Testbed, broken: Sequence[str]) -> tuple[list[str], list[str], list[str], list[str]]:
    """What drifts and what is not as predicted in a fresh lab, what is mended on node1 after some `ip` commands, what
    drifts then."""
    fresh = [str(each) for each in lab.check()]
    wrong = [trace_text(each, color=False) for each in lab.verify() if not each.ok]
    shell(lab, "node1", "; ".join(f"ip {command}" for command in broken))
    mended = sorted(str(each) for each in lab.check(repair=True))
    return fresh, wrong, mended, [str(each) for each in lab.check()]


def modules() -> set[str]:
    """Those that are loaded, without those of iptables-legacy."""
    loaded = (line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
    return {each for each in loaded if not each.startswith(OF_LEGACY)}


def modprobe(*words: str) -> None:
    process.run(["modprobe", *words])


@contextmanager
def module(*, loaded: bool) -> Iterator[None]:
    """With ipip, or without it; afterwards as before."""
    before = programs.has_module()
    _have_ipip(loaded)
    try:
        yield
    finally:
        _have_ipip(before)


def _have_ipip(loaded: bool) -> None:
    if programs.has_module() is not loaded:
        modprobe(*([] if loaded else ["--remove"]), "ipip")
