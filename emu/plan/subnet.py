"""What a router does with the frames of a cloud's subnet, as values; in the kernel a table of nftables, family netdev.

A subnet is no broadcast domain. Who asks for an address (ARP) is answered for whomever it is assigned to, with the MAC
of that one's interface; a frame to that MAC comes with the sender's own. What is sent to the router's MAC is routed,
and comes with the router's. Nobody is told anything of an address that nobody has.

The kernel's proxy ARP answers with the asked device's MAC, and IP drops what is addressed to any other. So answers get
the right MAC on the way out (`macs`), and a frame is taken as one's own on the way in if MAC and address belong
together (`frames`), marked, and given its sender's MAC again when it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emu.addressing import IPAddress, IPNetwork

MARK = 1  # of a packet that came in a frame for another interface of the subnet
MACS, FRAMES = "macs", "frames"
PREFIX = "subnet-"
IN, OUT = "in", "out"
HOOKS = {IN: "ingress", OUT: "egress"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """The table itself, and its rules. `router`: the one address that is answered for with the asked device's MAC.
    `intact`, of one that was read: the rules are these."""

    network: IPNetwork
    router: IPAddress
    intact: bool = True

    @property
    def table(self) -> str:
        return table(self.network)

    @property
    def rules(self) -> tuple[tuple[str, str], ...]:
        """(chain, rule)."""
        answer = "arp operation reply arp saddr ip"
        own = f"ether saddr set arp saddr ip map @{MACS}"
        return (
            (IN, f"ether daddr . ip daddr @{FRAMES} meta pkttype set host meta mark set {MARK}"),
            (OUT, f"arp operation reply arp saddr ether set arp saddr ip map @{MACS} {own} accept"),
            (OUT, f"{answer} != {self.router} drop"),
            (OUT, f"meta mark {MARK} ether saddr set ip saddr map @{MACS}"),
        )

    def __str__(self) -> str:
        return f"table netdev {self.table}, router {self.router}{'' if self.intact else ', with other rules'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetPort:
    """A link of the router, behind which is an interface of the subnet: its frames pass the table's rules."""

    network: IPNetwork
    dev: str

    @property
    def chains(self) -> tuple[tuple[str, str], ...]:
        """(the chain of the rules, the one at the link's hook)."""
        return tuple((way, f"{way}-{self.dev}") for way in HOOKS)

    def __str__(self) -> str:
        return f"table netdev {table(self.network)}, chains {' and '.join(name for _, name in self.chains)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetAddress:
    """An address, or a prefix, and the MAC of the interface that it is assigned to. `only`, of one that was read: the
    table has it only there."""

    network: IPNetwork
    address: IPNetwork
    mac: str
    only: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        return (self.only,) if self.only else (MACS, FRAMES)

    @property
    def shown(self) -> str:
        """As nft prints it."""
        return shown(self.address)

    def element(self, place: str) -> str:
        return f"{self.shown} : {self.mac}" if place == MACS else self.key(place)

    def key(self, place: str) -> str:
        """What it is found and deleted by."""
        return self.shown if place == MACS else f"{self.mac} . {self.shown}"

    def __str__(self) -> str:
        return f"{self.shown} : {self.mac}{f' in {self.only} alone' if self.only else ''}"


Value = Subnet | SubnetPort | SubnetAddress
#: Kind, table, and what it is called there.
Part = tuple[str, ...]


def table(network: IPNetwork) -> str:
    return f"{PREFIX}{network}"


def shown(address: IPNetwork) -> str:
    return str(address.network_address) if address.prefixlen == address.max_prefixlen else str(address)


def additions(values: Iterable[Value]) -> Iterator[str]:
    """nft's statements; each can be said twice. Addresses of one table together, as there are many."""
    together: dict[tuple[str, str], list[str]] = {}
    for value in values:
        if isinstance(value, Subnet):
            yield from _made(value)
        elif isinstance(value, SubnetPort):
            yield from _hooked(value)
        else:
            for place in value.places:
                together.setdefault((table(value.network), place), []).append(value.element(place))
    for (name, place), elements in together.items():
        yield f"add element netdev {name} {place} {{ {', '.join(elements)} }}"


def parts(value: Value) -> Iterator[Part]:
    """What it is made of in the kernel."""
    name = table(value.network)
    if isinstance(value, Subnet):
        yield ("table", name)
    elif isinstance(value, SubnetPort):
        yield from (("chain", name, chain) for _, chain in value.chains)
    else:
        yield from (("element", name, place, value.key(place)) for place in value.places)


def deletion(part: Part) -> str:
    kind, name, *rest = part
    braced = [f"{{ {each} }}" if kind == "element" and each == rest[-1] else each for each in rest]
    return " ".join(("delete", kind, "netdev", name, *braced))


def command(value: Value, *, remove: bool = False) -> str:
    """One line for a shell."""
    statements = map(deletion, parts(value)) if remove else additions((value,))
    return f"nft '{'; '.join(statements)}'"


def _made(subnet: Subnet) -> Iterator[str]:
    name = subnet.table
    yield f"add table netdev {name}"
    yield f"add map netdev {name} {MACS} {{ type ipv4_addr : ether_addr; flags interval; }}"
    yield f"add set netdev {name} {FRAMES} {{ type ether_addr . ipv4_addr; flags interval; }}"
    for chain in HOOKS:
        yield from (f"add chain netdev {name} {chain}", f"flush chain netdev {name} {chain}")
    yield from (f"add rule netdev {name} {chain} {rule}" for chain, rule in subnet.rules)


def _hooked(port: SubnetPort) -> Iterator[str]:
    name = table(port.network)
    for way, chain in port.chains:
        hook = f'type filter hook {HOOKS[way]} device "{port.dev}" priority filter;'
        yield f"add chain netdev {name} {chain} {{ {hook} }}"
        yield f"flush chain netdev {name} {chain}"
        yield f"add rule netdev {name} {chain} jump {way}"
