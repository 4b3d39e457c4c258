"""What our packer makes is what pyroute2, which shares no code with it, reads back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyroute2 import IPRoute

from emu.kernel import netns
from emu.kernel.apply import Kernel
from emu.plan.diff import diff
from tests.kernel import lab

pytestmark = pytest.mark.root


def test_pyroute2_reads_the_links_addresses_routes_and_tables_that_were_planned(sandbox: Callable) -> None:
    plan = lab.plan(nodes=2, pods=1)

    def run() -> dict[str, object]:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        with netns.entered(kernel.netns("node1")), IPRoute() as ip:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
            tunnel = next(link for link in ip.get_links() if link.get_attr("IFLA_IFNAME") == "flannel.1")
            data = tunnel.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
            return {
                "addresses": {
                    (names[each["index"]], f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}")
                    for each in ip.get_addr(family=2)
                },
                "vxlan": tuple(data.get_attr(f"IFLA_VXLAN_{key}") for key in ("ID", "LOCAL", "PORT", "LEARNING")),
                "route": [
                    (each.get_attr("RTA_GATEWAY"), names[each.get_attr("RTA_OIF")], bool(each["flags"] & 4))
                    for each in ip.get_routes(family=2, table=254)
                    if each.get_attr("RTA_DST") == "10.244.2.0"
                ],
                "neighbor": [
                    (each.get_attr("NDA_DST"), each.get_attr("NDA_LLADDR"), each["state"])
                    for each in ip.get_neighbours(family=2)
                    if names[each["ifindex"]] == "flannel.1"
                ],
                "fdb": [
                    (each.get_attr("NDA_LLADDR"), each.get_attr("NDA_DST"))
                    for each in ip.fdb("dump")
                    if names[each["ifindex"]] == "flannel.1" and each.get_attr("NDA_DST")
                ],
            }

    read = sandbox(run)
    assert {("eth0", "192.168.100.11/24"), ("cni0", "10.244.1.1/24"), ("flannel.1", "10.244.1.0/32")} <= read[
        "addresses"
    ]
    assert read["vxlan"] == (1, "192.168.100.11", 8472, 0)
    assert read["route"] == [("10.244.2.0", "flannel.1", True)]
    assert read["neighbor"] == [("10.244.2.0", lab.mac(4, 2), 0x80)]  # NUD_PERMANENT
    assert read["fdb"] == [(lab.mac(4, 2), "192.168.100.12")]
