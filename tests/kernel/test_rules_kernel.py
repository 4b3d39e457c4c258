"""Planned rules in a kernel: what iptables-save echoes is the plan, and a delta leads where a full restore leads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from emu import planners
from emu.cluster.model import Cluster
from emu.netfilter import normal, parse, text
from emu.netfilter.model import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "planners"))
from clusters import cluster

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]

BASE = cluster(nodes=2, pods=3, services=2, family="ipv4-ipv6")


def _all_kinds(base: Cluster) -> Cluster:
    """Every kind of entrance, a Service without endpoints, affinity, source ranges."""
    web = base.frontends[0]
    full = replace(
        web,
        node_port=30080,
        external_ips=(ip_address("192.0.2.1"),),
        load_balancer_ips=(ip_address("198.51.100.1"),),
        source_ranges=base.node_ranges[:1],
        health_check_node_port=32000,
        external_local=True,
        affinity_s=10800,
    )
    empty = replace(base.frontends[1], backends=())
    return replace(base, frontends=(full, empty, *base.frontends[2:]))


def _fewer(base: Cluster) -> Cluster:
    first = base.frontends[0]
    return replace(base, frontends=(replace(first, backends=first.backends[:-1]), *base.frontends[1:]))


STEPS = {
    "an endpoint goes": (BASE, _fewer(BASE)),
    "all endpoints go": (BASE, replace(BASE, frontends=(replace(BASE.frontends[0], backends=()), *BASE.frontends[1:]))),
    "a Service goes": (BASE, replace(BASE, frontends=BASE.frontends[1:])),
    "every kind comes": (BASE, _all_kinds(BASE)),
    "every kind goes": (_all_kinds(BASE), BASE),
    "affinity loses an endpoint": (_all_kinds(BASE), _fewer(_all_kinds(BASE))),
}


def tables(of: Cluster, family: int) -> tuple[Table, ...]:
    return tuple(table for table in planners.build(of).netns["node1"].tables if table.family == family)


def iptables(variant: str, family: int, tool: str, *args: str, given: str = "") -> str:
    name = f"ip{'6' if family == 6 else ''}tables-{variant}-{tool}"
    done = subprocess.run([name, *args], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}\n{given}"
    return done.stdout


def differences(wanted: tuple[Table, ...], variant: str, family: int) -> list[str]:
    saved = {table.name: table for table in parse.save(iptables(variant, family, "save"), family)}
    return [str(each) for table in wanted for each in normal.same(table, saved[table.name])]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("step", STEPS)
def test_a_delta_leads_where_a_full_restore_leads(sandbox: Sandbox, step: str, variant: str, family: int) -> None:
    old, new = (tables(each, family) for each in STEPS[step])

    def run() -> object:
        iptables(variant, family, "restore", given="".join(map(text.restore, old)))
        before = differences(old, variant, family)
        by_name = {table.name: table for table in old}
        change = "".join(text.delta(by_name.get(table.name), table) for table in new)
        iptables(variant, family, "restore", "--noflush", given=change)
        return before, differences(new, variant, family)

    assert sandbox(run) == ([], [])


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_echo_is_spelled_as_we_spell_it(sandbox: Sandbox, variant: str) -> None:
    wanted = tables(_all_kinds(BASE), 4)

    def run() -> object:
        iptables(variant, 4, "restore", given="".join(map(text.restore, wanted)))
        return [iptables(variant, 4, "save", "-t", table.name) for table in wanted]

    for table, saved in zip(wanted, sandbox(run), strict=True):  # type: ignore[call-overload]
        rules = [line for line in saved.splitlines() if line.startswith("-A")]
        assert rules == [line for line in text.save(table).splitlines() if line.startswith("-A")]


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_change_behind_our_back_is_found_and_mended(sandbox: Sandbox, variant: str) -> None:
    wanted = tables(BASE, 4)

    def run() -> object:
        iptables(variant, 4, "restore", given="".join(map(text.restore, wanted)))
        meddling = "*nat\n-D POSTROUTING 1\n-A KUBE-MARK-MASQ -j RETURN\n:STRANGER - [0:0]\nCOMMIT\n"
        iptables(variant, 4, "restore", "--noflush", given=meddling)
        found = differences(wanted, variant, 4)
        saved = {table.name: table for table in parse.save(iptables(variant, 4, "save"), 4)}
        repair = "".join(text.delta(saved[table.name], table) for table in wanted)
        iptables(variant, 4, "restore", "--noflush", given=repair)
        return found, differences(wanted, variant, 4)

    assert sandbox(run) == (
        [
            'missing: -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
            "not planned: -A KUBE-MARK-MASQ -j RETURN",
            "not planned: :STRANGER -",
        ],
        [],
    )


def test_removing_a_table_leaves_it_as_the_kernel_made_it(sandbox: Sandbox) -> None:
    wanted = tables(BASE, 4)

    def run() -> object:
        iptables("nft", 4, "restore", given="".join(map(text.restore, wanted)))
        iptables("nft", 4, "restore", "--noflush", given="".join(text.delta(table, None) for table in wanted))
        return [line for line in iptables("nft", 4, "save").splitlines() if line.startswith("-A") or " - " in line]

    assert sandbox(run) == []
