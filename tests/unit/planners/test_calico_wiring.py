"""How Calico joins a Pod, as `ip` and `sysctl` would print it on a real Node."""

from __future__ import annotations

from clusters import cluster

from emu import names
from emu.plan import merge, render
from emu.plan.model import NetnsPlan
from emu.planners.cni import calico_wiring


def joined(family: str = "ipv4") -> tuple[NetnsPlan, NetnsPlan]:
    """(the Node's part, the Pod's)"""
    made = cluster(nodes=1, pods=1, family=family)
    netns = merge.merge(calico_wiring.plan(made, 1450))
    return netns["node1"], netns[names.pod_netns("default", made.pods[0].name)]


def routes(of: NetnsPlan) -> list[str]:
    return [render.route(route) for route in of.routes]


def test_the_nodes_end_is_named_after_the_pod() -> None:
    assert names.calico_veth("default", "nginx") == "calic440f455693"


def test_a_pod_has_an_address_without_a_network_and_a_gateway_nobody_has() -> None:
    node, pod = joined()
    assert [str(each.address) for each in pod.addresses] == ["10.244.1.2/32"]
    assert routes(pod) == ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"]
    (link,) = node.links
    assert (link.mac, link.mtu, link.master) == ("ee:ee:ee:ee:ee:ee", 1450, "")
    assert routes(node) == [f"10.244.1.2 dev {link.name} scope link"]


def test_the_node_answers_arp_for_everyone_without_delay() -> None:
    node, _ = joined()
    name = node.links[0].name
    assert [f"{each.key}={each.value}" for each in node.sysctls] == [
        f"net.ipv4.conf.{name}.rp_filter=1",
        f"net.ipv4.conf.{name}.route_localnet=1",
        f"net.ipv4.neigh.{name}.proxy_delay=0",
        f"net.ipv4.conf.{name}.proxy_arp=1",
        f"net.ipv4.conf.{name}.forwarding=1",
    ]


def test_ipv6_goes_by_the_link_local_address_of_the_nodes_end() -> None:
    node, pod = joined("ipv6")
    assert routes(pod) == ["default via fe80::ecee:eeff:feee:eeee dev eth0"]
    assert pod.addresses[0].address.network.prefixlen == 128
    assert f"net.ipv6.conf.{node.links[0].name}.proxy_ndp" in {each.key for each in node.sysctls}
