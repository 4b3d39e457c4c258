"""A Calico IPIP lab by whoever realises tunl0 in this boot: `make test-vm` has one with the module, one without."""

from __future__ import annotations

import pytest
from ipip_lab import BY
from labs import Labs
from stock import TOPOLOGIES, WITHOUT_NF_TABLES, alone, modules, proven

from emu.plan.model import IpipBy

pytestmark = [pytest.mark.root, alone]


@pytest.mark.parametrize("by", [BY], ids=str)
def test_every_path_is_as_predicted_links_are_mended_and_no_module_is_loaded(testbed: Labs, by: IpipBy) -> None:
    before = modules()
    broken = ("link set tunl0 mtu 1400", "link set eth0 mtu 1400")
    found = testbed(lambda lab: proven(lab, broken), topology=TOPOLOGIES / "two-node-calico-ipip", **WITHOUT_NF_TABLES)
    mended = [
        "node1: link eth0: wanted mtu 1500, got mtu 1400",
        "node1: link tunl0: wanted mtu 1480, got mtu 1400",
    ]
    assert found == ([], [], mended, [])
    assert modules() == before
    assert ("ipip" in before) is (by is IpipBy.MODULE)
