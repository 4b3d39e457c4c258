"""Machines on the Node network: every path as predicted, and one that has left the switch is named."""

from __future__ import annotations

import pytest
from labs import TWO_NODES, Labs
from proving import failures, shell

from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

VM = TWO_NODES.parent / "two-hosts-vm"


def test_every_path_is_as_predicted_and_a_lost_port_is_named_and_mended(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        results = lab.verify()
        assert failures(results) == []
        kinds = {each.flow.label.partition(":")[0] for each in results}
        assert {"Pod to Pod, same Node", "Pod to Pod, other Node", "Node to Pod, other Node"} <= kinds
        assert lab.check() == ()

        assert lab.plan is not None
        eth0 = lab.plan.netns["default.proxy"].link("eth0")
        assert eth0 is not None and eth0.peer is not None
        shell(lab, "fabric", f"ip link set {eth0.peer[1]} nomaster")
        lost = lab.trace("client", "proxy", proto="icmp")
        assert not lost.ok and lost.difference is not None
        assert any(eth0.peer[1] in str(each) for each in lab.check(repair=True))
        assert lab.trace("client", "proxy", proto="icmp").ok and lab.check() == ()

    testbed(inside, topology=VM)


def test_an_address_outside_is_unreachable_and_a_route_that_says_so_otherwise_is_told(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        for target, proto in (("203.0.113.1", "icmp"), ("203.0.113.1:80", "tcp")):
            outside = lab.trace("client", target, proto=proto)
            assert outside.ok
            assert outside.reply_text == "No route to host"
        shell(lab, "default.client", "ip route add blackhole 203.0.113.0/24")
        silent = lab.trace("client", "203.0.113.1", proto="icmp")
        assert silent.difference is not None
        assert silent.difference.what == "reply: expected unreachable: host, got none"

    testbed(inside, topology=VM)
