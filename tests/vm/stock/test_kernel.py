"""What a distribution's kernel has and the machine may lack; links that are up are modified there as anywhere."""

from __future__ import annotations

import pytest
from labs import Labs
from stock import TOPOLOGIES, WITHOUT_NF_TABLES, alone, modprobe, modules, proven

from emu.errors import MissingFeature
from emu.kernel import features

pytestmark = [pytest.mark.root, alone]


@pytest.mark.parametrize("module", ["ipip", "ip_vs", "sch_netem", "dummy"])
def test_the_doctor_finds_the_modules_that_are_there(module: str) -> None:
    found = {each.name: each for each in features.modules()}
    assert found[f"module {module}"].ok, found[f"module {module}"]
    before = modules()
    modprobe(module)
    try:
        assert module in modules()
    finally:
        if module not in before:
            modprobe("--remove", module)


def test_flannel_vxlan_is_as_predicted_is_mended_and_loads_no_module(testbed: Labs) -> None:
    before = modules()
    broken = ("link set flannel.1 mtu 1400", "link set cni0 mtu 1300", "link set eth0 mtu 1400")
    found = testbed(
        lambda lab: proven(lab, broken), topology=TOPOLOGIES / "two-node-flannel-vxlan", **WITHOUT_NF_TABLES
    )
    mended = [
        "node1: link cni0: wanted mtu 1450, got mtu 1300",
        "node1: link eth0: wanted mtu 1500, got mtu 1400",
        "node1: link flannel.1: wanted mtu 1450, got mtu 1400",
    ]
    assert found == ([], [], mended, [])
    assert modules() == before


def test_a_vpc_is_refused_by_name_where_nftables_has_no_hooks_of_devices(testbed: Labs) -> None:
    """Debian's user-mode-linux has them not; its kernels for machines have."""
    with pytest.raises(MissingFeature, match="nftables of family netdev with the egress hook") as refused:
        testbed(lambda lab: None, topology=TOPOLOGIES / "two-node-aws-vpc", **WITHOUT_NF_TABLES)
    assert "CONFIG_NF_TABLES_NETDEV" in refused.value.hint
