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
    (found,) = (n for n in made.netns.values() if n.kind is NetnsKind.NETWORK and n.name.startswith(f"{node}_1-"))
    return found


def send(made: Plan, source: str, address: str, port: int = 80) -> Path:
    flow = Flow(netns=pod_netns("default", source), dst=ip_address(address), proto="tcp", dport=port)
    return predict(made, flow).paths[0]
