"""The machines of the prompt, from a plan."""

from __future__ import annotations

from ipaddress import ip_interface

from emu.kernel.inventory import Entrances, InterfaceInfo, of_plan
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Plan, PodSandbox, Role

ENTRANCES = Entrances(
    path=lambda netns: f"/run/netns/{netns}",
    pid=lambda namespace, name: 42 if namespace else 0,
    env=lambda namespace, name: {"KEY": name},
)


def pod(namespace: str, name: str) -> NetnsPlan:
    sandbox = PodSandbox(
        namespace=namespace, name=name, uid="", node="node1", hostname=name, addresses=(), files=(), processes=()
    )
    return NetnsPlan(name=f"{namespace}.{name}", kind=NetnsKind.POD, owner=f"{namespace}/{name}", pod=sandbox)


def plan_of(*found: NetnsPlan) -> Plan:
    return Plan(name="lab", seed=0, netns={netns.name: netns for netns in found})


def veth(name: str, role: Role, peer: tuple[str, str], master: str = "") -> Link:
    return Link(name=name, kind="veth", role=role, owner="", peer=peer, master=master)


def test_a_pod_has_its_own_name_unless_another_machine_has_it():
    node = NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1")
    machines = of_plan(
        plan_of(node, pod("default", "web"), pod("a", "db"), pod("b", "db"), pod("c", "node1")), ENTRANCES
    )
    assert list(machines) == ["node1", "web", "a.db", "b.db", "c.node1"]
    assert machines["web"].aliases == ("default.web", "default/web")
    assert (machines["web"].pid, machines["web"].env) == (42, {"KEY": "web"})
    assert (machines["node1"].pid, machines["node1"].netns) == (0, "/run/netns/node1")


def test_a_switch_is_a_machine_and_wires_have_two_ends():
    fabric = NetnsPlan(
        name="fabric",
        kind=NetnsKind.FABRIC,
        owner="fabric",
        links=(
            Link(name="s1", kind="bridge", role=Role.FABRIC, owner="s1"),
            veth("s1-node1", Role.FABRIC, ("node1", "eth0"), "s1"),
        ),
    )
    node = NetnsPlan(
        name="node1",
        kind=NetnsKind.NODE,
        owner="node1",
        links=(veth("eth0", Role.UPLINK, ("fabric", "s1-node1")),),
        addresses=(Address(dev="eth0", address=ip_interface("192.168.100.11/24")),),
    )
    machines = of_plan(plan_of(fabric, node), ENTRANCES)
    assert list(machines) == ["s1", "node1"]
    assert machines["s1"].switch and not machines["s1"].netns
    assert machines["s1"].interfaces == (InterfaceInfo(name="s1-node1", peer=("node1", "eth0")),)
    assert machines["node1"].interfaces == (
        InterfaceInfo(name="eth0", address="192.168.100.11/24", peer=("s1", "s1-node1")),
    )
