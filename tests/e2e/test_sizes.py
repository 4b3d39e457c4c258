"""Packets that are too long for something on their way: predicted, sent, and seen to fare so, in each way of joining
Pods."""

from __future__ import annotations

import pytest
from inside import out
from labs import TWO_NODES, Labs
from proving import failures, inside, side_by_side

from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from emu.trace.model import TraceResult

pytestmark = pytest.mark.root

UPLINK = 1500
#: Each other in what has the limit, or in how it is seen: a tunnel whose rules are followed by legacy TRACE; one of
#: each family; no tunnel; eBPF that puts the header on; a tunnel that takes less than the Pods' links believe; a bridge
#: before a tunnel; a route that says less than its link.
SHAPES = (
    {"cni": "calico-vxlan", "iptables": "legacy"},
    {"cni": "calico-vxlan", "family": "ipv4-ipv6"},
    {"cni": "flannel-host-gw"},
    {"cni": "calico-ipip"},
    {"cni": "canal"},
    {"cni": "cilium"},
    {"cni": "flannel-vxlan", "family": "ipv6"},
)


def lengths(lab: Testbed) -> list[TraceResult]:
    """About every limit there is: one below, one above, and in several pieces, to a Pod of either Node, to a Service by
    a datagram, and from a Node."""
    assert lab.cluster
    nginx = next(pod.name for pod in lab.cluster.pods if "nginx-hello" in pod.name)
    found = []
    for family in lab.cluster.families:
        near, far = address_of(lab, nginx, family), address_of(lab, "client2", family)
        headers = 28 if family == 4 else 48
        found += [
            lab.trace("client", far, size=length - headers, df=df)
            for length in (1430, 1450, 1480, UPLINK)
            for df in (True, False)
        ]
        found += [lab.trace(source, far, size=4000) for source in ("client", "node1")]
        found += [lab.trace("client2", near, size=3000)]
    return [*found, lab.trace("client", "web:8081", proto="udp", size=3000)]


def address_of(lab: Testbed, name: str, family: int) -> str:
    assert lab.cluster
    found = next(pod for pod in lab.cluster.pods if pod.name == name)
    return next(str(address) for address in found.addresses if address.version == family)


def _every_length(shape: dict[str, str]) -> tuple[list[str], list[str]]:
    def inside_(lab: Testbed) -> tuple[list[str], list[str]]:
        results = lengths(lab)
        return failures(results), [result.reply_text for result in results]

    told: tuple[list[str], list[str]] = inside(inside_, **shape)
    return told


def test_what_is_too_long_fares_as_predicted_in_every_mode() -> None:
    failed = {}
    for shape, (wrong, answers) in zip(SHAPES, side_by_side(_every_length, SHAPES), strict=True):
        failed.update({f"{' '.join(shape.values())}: {each}": "" for each in wrong})
        assert "echo reply" in answers, shape
    assert list(failed) == []


def test_a_tunnel_that_was_narrowed_behind_the_testbeds_back_is_named() -> None:
    def inside_(lab: Testbed) -> None:
        assert lab.trace("client", "client2", size=1422, df=True).ok
        out(lab, "node1", "ip link set flannel.1 mtu 1400")
        stopped, cut = (lab.trace("client", "client2", size=1422, df=df) for df in (True, False))
        assert not stopped.ok and not cut.ok
        assert stopped.reply_text == "fragmentation needed, mtu 1400"
        text = trace_text(stopped, color=False)
        assert "expected to leave node1 through flannel.1" in text
        assert "link flannel.1: wanted mtu 1450, got mtu 1400" in text
        assert cut.difference and "expected a whole packet, got 2 fragments" in cut.difference.what
        small = lab.trace("client", "client2", size=1300, df=True)
        assert small.ok, "what fits goes its way"

    inside(inside_)


def test_a_pods_link_that_was_narrowed_is_named_though_nothing_is_sent() -> None:
    def inside_(lab: Testbed) -> None:
        out(lab, "client", "ip link set eth0 mtu 1400")
        result = lab.trace("client", "client2", size=1450, df=True)
        assert not result.ok and result.difference
        assert result.difference.what == "forward: expected message too long, mtu 1450, got message too long, mtu 1400"
        assert any("mtu 1400" in each for each in result.drift)

    inside(inside_)


def test_a_pods_route_that_was_widened_is_named(testbed: Labs) -> None:
    """Under Cilium it is the route that says 1450."""

    def broken(lab: Testbed) -> None:
        assert lab.trace("client", "client2", size=1423, df=True).ok
        out(lab, "client", "ip route change default via 10.244.1.1 dev eth0")
        result = lab.trace("client", "client2", size=1423, df=True)
        assert not result.ok and result.difference
        assert "the path should have ended before it was seen" in result.difference.what
        assert any("mtu 1450" in each for each in result.drift)

    testbed(broken, topology=TWO_NODES.parent / "two-node-cilium")


def test_what_the_sender_has_learned_before_does_not_count() -> None:
    def inside_(lab: Testbed) -> None:
        for _ in range(2):
            result = lab.trace("client", "client2", size=1472, df=True)
            assert (result.ok, result.reply_text) == (True, "fragmentation needed, mtu 1450")

    inside(inside_, cni="canal")
