"""What the tests of a Swarm's plans share."""

from __future__ import annotations

from ipaddress import ip_address

from emu.names import pod_netns
from emu.netfilter import text
from emu.plan.model import NetnsKind, NetnsPlan, Plan
from emu.trace.model import Flow, Path
from emu.trace.predict import predict


def rules(netns: NetnsPlan, table: str) -> str:
    found = [each for each in netns.tables if each.name == table]
    return "".join(f"{text.rule('', c.name, r)}\n" for each in found for c in each.chains for r in c.rules)


def network(made: Plan, node: str) -> NetnsPlan:
    return _of(made, node, 4097)


def ingress(made: Plan, node: str) -> NetnsPlan:
    """The namespace of the ingress network."""
    return _of(made, node, 4096)


def _of(made: Plan, node: str, vni: int) -> NetnsPlan:
    own = [each for each in made.netns.values() if each.kind is NetnsKind.NETWORK and each.name.startswith(f"{node}_")]
    (found,) = (each for each in own if any(link.vxlan and link.vxlan.vni == vni for link in each.links))
    return found


def send(made: Plan, source: str, address: str, port: int = 80) -> Path:
    flow = Flow(netns=pod_netns("default", source), dst=ip_address(address), proto="tcp", dport=port)
    return predict(made, flow).paths[0]
