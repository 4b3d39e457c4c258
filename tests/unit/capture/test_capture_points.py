from __future__ import annotations

import pytest

from emu.capture.points import points
from emu.errors import InputError
from emu.plan.model import Link, NetnsKind, NetnsPlan, Plan, Role


def netns(name: str, kind: NetnsKind, owner: str, *links: tuple[str, Role, str]) -> NetnsPlan:
    made = tuple(Link(name=ifname, kind="veth", role=role, owner=whose) for ifname, role, whose in links)
    return NetnsPlan(
        name=name, kind=kind, owner=owner, links=(Link(name="lo", kind="", role=Role.POD_ETH, owner=owner), *made)
    )


PLAN = Plan(
    name="lab",
    seed=1,
    netns={
        part.name: part
        for part in (
            netns("fabric", NetnsKind.FABRIC, "fabric", ("s1", Role.FABRIC, "s1"), ("s1-node1", Role.FABRIC, "s1")),
            netns(
                "node1",
                NetnsKind.NODE,
                "node1",
                ("eth0", Role.UPLINK, "node1"),
                ("cni0", Role.BRIDGE, "node1"),
                ("flannel.1", Role.TUNNEL, "node1"),
                ("veth0a1b2c3d", Role.HOST_VETH, "default/web"),
            ),
            netns("default.web", NetnsKind.POD, "default/web", ("eth0", Role.POD_ETH, "default/web")),
            netns("other.web", NetnsKind.POD, "other/web", ("eth0", Role.POD_ETH, "other/web")),
        )
    },
)
NODE1 = ["node1:eth0", "node1:cni0", "node1:flannel.1", "node1:veth0a1b2c3d"]
FABRIC = ["fabric:s1", "fabric:s1-node1"]
WEBS = ["default/web:eth0", "other/web:eth0"]


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        (["all"], FABRIC + NODE1 + WEBS),
        (["fabric"], FABRIC),
        (["node1"], NODE1),
        (["node/node1"], NODE1),
        (["node1:cni0"], ["node1:cni0"]),
        (["default/web"], ["default/web:eth0"]),
        (["pod/default/web"], ["default/web:eth0"]),
        (["pod/web"], WEBS),
        (["default/web:eth0"], ["default/web:eth0"]),
        (["*:eth0"], ["node1:eth0", *WEBS]),
        (["other/web", "node1:cni0", "node1:cni0"], ["node1:cni0", "other/web:eth0"]),
    ],
    ids=str,
)
def test_a_selector_chooses_in_the_plans_order(selectors: list[str], chosen: list[str]) -> None:
    assert [str(point) for point in points(PLAN, selectors)] == chosen


@pytest.mark.parametrize("selector", ["node2", "node1:cni1", "default/wbe", "lo", "node1:lo", ""])
def test_a_selector_that_chooses_nothing_is_refused(selector: str) -> None:
    with pytest.raises(InputError, match=f"called '{selector}'"):
        points(PLAN, [selector])


def test_the_refusal_names_what_is_near() -> None:
    with pytest.raises(InputError, match="default/web"):
        points(PLAN, ["default/wbe"])


def test_bridges_tunnels_and_switches_are_stacked_on_others() -> None:
    assert [str(point) for point in points(PLAN) if point.stacked] == ["fabric:s1", "node1:cni0", "node1:flannel.1"]
