"""Felix's rules, by the hashes that real Nodes show: a hash is of the rule's text and of all before it in its chain, so
that the last one of a chain being right means that all of them are.

The hashes are from `iptables -L` of kubeadm clusters with Calico 3.2x, one with VXLAN and one with IPIP."""

from __future__ import annotations

import pytest
from clusters import cluster

from emu import names
from emu.netfilter import text
from emu.netfilter.model import Chain, Table
from emu.plan import merge
from emu.plan.model import NetnsPlan
from emu.planners.cni import calico_chains, calico_endpoints, calico_felix, calico_rules
from emu.planners.cni.calico_rules import Tunnel

VXLAN, IPIP = Tunnel("vxlan", "vxlan.calico"), Tunnel("ipip", "tunl0")


def chain(tunnel: Tunnel | None, table: str, name: str) -> Chain:
    found = next(t for t in calico_chains.static("test", 4, tunnel, True).tables if t.name == table).chain(name)
    assert found is not None
    return found


def hashes(of: Chain) -> list[str]:
    return [rule.comment.removeprefix("cali:") for rule in of.rules]


@pytest.mark.parametrize(
    ("tunnel", "table", "name", "last"),
    [
        (VXLAN, "filter", "cali-FORWARD", "NOSxoaGx8OIstr1z"),
        (VXLAN, "filter", "cali-INPUT", "F7Q8zu44qIbOVben"),
        (VXLAN, "filter", "cali-OUTPUT", "Y0k-bqjt-5CUqyUq"),
        (VXLAN, "filter", "cali-wl-to-host", "nSZbcOoG1xPONxb8"),
        (IPIP, "filter", "cali-INPUT", "q-Vz2ZT9iGE331LL"),
        (VXLAN, "nat", "cali-nat-outgoing", "flqWnvo8yq4ULQLa"),
        (VXLAN, "nat", "cali-PREROUTING", "r6XmIziWUJsdOK6Z"),
        (None, "nat", "cali-POSTROUTING", "nYKhEzDlr11Jccal"),
        (None, "raw", "cali-OUTPUT", "pN0F5zD0b8yf9W1Z"),
        (VXLAN, "mangle", "cali-PREROUTING", "Cg96MgVuoPm7UMRo"),
    ],
)
def test_a_chain_has_the_hashes_of_a_real_node(tunnel: Tunnel | None, table: str, name: str, last: str) -> None:
    assert hashes(chain(tunnel, table, name))[-1] == last


def test_the_jumps_of_the_kernels_chains_have_the_hashes_of_a_real_node() -> None:
    hooks = calico_chains.static("test", 4, VXLAN, True).hooks
    told = {hook.chain: hook.rule.comment for hook in hooks}
    assert told["PREROUTING"] == "cali:6gwbT8clXdHdC1b1" and told["FORWARD"] == "cali:wUHhoiAYhphO9Mso"
    appended = [hook.rule.comment for hook in calico_chains.end("test", 4).hooks]
    assert appended == ["cali:S93hcgKJrXEqnTfs", "cali:mp77cMpurHhyjLrM"]


@pytest.mark.parametrize(
    ("name", "how", "last"),
    [
        ("cali-fw-cali839f4f93e61", (calico_endpoints.FROM, calico_endpoints.WRAPPED), "tzuXKpDyOxEZ7V_o"),
        ("cali-tw-cali839f4f93e61", (calico_endpoints.TO,), "hHYkwi_qPKC7uR09"),
    ],
)
def test_a_pods_chains_have_the_hashes_of_a_real_node(name: str, how: tuple, last: str) -> None:
    made = calico_felix.chain(name, calico_endpoints.decisions("calico-system", *how))
    assert hashes(made)[-1] == last


def test_profiles_have_the_names_and_hashes_of_a_real_node() -> None:
    made = {each.name: hashes(each) for each in calico_endpoints.profiles("test", "calico-system")}
    assert made == {
        "cali-pri-kns.calico-system": ["hLANj-OVIyT53h_j"],
        "cali-pro-kns.calico-system": ["gWxJzCZXxl31NR0P"],
        "cali-pri-_og73BH3DuNOZrbBKFW": ["OzmBDJrkeSSUiXhX"],
        "cali-pro-_og73BH3DuNOZrbBKFW": ["09a9ZBFOA1dZ4RN5"],
    }


def test_links_whose_names_go_on_alike_have_a_chain_of_their_own() -> None:
    devices = [
        "cali1dac8782bdb",
        "cali3579be14420",
        "cali6945b3c77c1",
        "cali6f60a778e0b",
        "cali868a4e4c0db",
        "cali9d04617f188",
    ]
    to = {
        each.name: hashes(each)
        for each in calico_endpoints.dispatch("cali-to-wl-dispatch", calico_endpoints.TO, devices)
    }
    assert to["cali-to-wl-dispatch-6"] == ["voCtztmwuL5cVC6K", "bkgw_3X7Q9UFJeX4", "BYUERmLynWaeKPK_"]
    assert to["cali-to-wl-dispatch"][2:] == [
        "KujuNK2hBy3nyojz",
        "zsKliieYuD6jYPaw",
        "iNjyAaVU-t635DEz",
        "M_1efBassqWauUhR",
    ]


def planned(tunnels: dict[int, Tunnel], **shape: object) -> NetnsPlan:
    made = cluster(nodes=2, pods=1, **shape)  # type: ignore[arg-type]
    ground = (NetnsPlan(name=node.name, kind="node", owner=node.name) for node in made.nodes)  # type: ignore[arg-type]
    return merge.merge((*ground, *calico_rules.plan(made, tunnels)))["node1"]


def saved(plan: NetnsPlan, family: int, table: str, name: str) -> list[str]:
    found: Table = next(t for t in plan.tables if (t.family, t.name) == (family, table))
    return [text.rule("", name, rule, family) for rule in found.chain(name).rules]  # type: ignore[union-attr]


def test_what_iptables_save_shows_of_natoutgoing() -> None:
    assert saved(planned({4: VXLAN}), 4, "nat", "cali-nat-outgoing") == [
        '-A cali-nat-outgoing -m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set cali40masq-ipam-pools '
        "src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully"
    ]


def test_the_sets_hold_the_pool_and_the_other_nodes() -> None:
    assert {each.name: sorted(each.members) for each in planned({4: VXLAN}).sets} == {
        "cali40masq-ipam-pools": ["10.244.0.0/16"],
        "cali40all-ipam-pools": ["10.244.0.0/16"],
        "cali40all-vxlan-net": ["192.168.100.12"],
    }
    ipip = {each.name: sorted(each.members) for each in planned({4: IPIP}).sets}
    assert ipip["cali40all-hosts-net"] == ["192.168.100.11", "192.168.100.12"]


def test_an_ipv6_pool_is_not_masqueraded() -> None:
    plan = planned({}, family="ipv6")
    assert saved(plan, 6, "nat", "cali-nat-outgoing") == []
    assert {each.name: len(each.members) for each in plan.sets} == {
        "cali60masq-ipam-pools": 0,
        "cali60all-ipam-pools": 1,
    }


def test_a_pods_packets_pass_its_own_chain() -> None:
    (pod,) = (each for each in cluster(nodes=2, pods=1).pods if each.node == "node1")
    device = names.calico_veth(pod.namespace, pod.name)
    assert saved(planned({}), 4, "filter", "cali-from-wl-dispatch")[0].endswith(f"-g cali-fw-{device}")
