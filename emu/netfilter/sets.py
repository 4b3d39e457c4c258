"""ipset: sets of addresses that rules match with `-m set`. As text for `ipset restore`, read back from `ipset save`,
and asked whether a packet is in one."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from emu.errors import PlanError
from emu.memo import by_identity
from emu.netfilter.model import IpSet, PacketView

FAMILIES = {4: "inet", 6: "inet6"}
WITH_PORTS = frozenset({"tcp", "udp", "sctp"})
_VERSIONS = {name: version for version, name in FAMILIES.items()}


def create(value: IpSet) -> str:
    return f"create {value.name} {value.type} family {FAMILIES[value.family]} maxelem {value.maxelem}"


def delta(old: IpSet | None, new: IpSet | None) -> str:
    """For `ipset -exist restore`: turns one into the other, member by member, so that rules may go on using it."""
    if new is None:
        return f"destroy {old.name}\n" if old else ""
    before = old.members if old else frozenset()
    lines = [create(new)]
    lines += [f"add {new.name} {member}" for member in sorted(new.members - before)]
    lines += [f"del {new.name} {member}" for member in sorted(before - new.members)]
    return "\n".join(lines) + "\n"


def saved(text: str) -> tuple[IpSet, ...]:
    """What `ipset save` prints."""
    found: dict[str, IpSet] = {}
    members: dict[str, set[str]] = {}
    for line in text.splitlines():
        match line.split():
            case ["create", name, kind, *options]:
                told = dict(zip(options[::2], options[1::2], strict=False))
                family, most = _VERSIONS[told.get("family", "inet")], int(told.get("maxelem", 0))
                found[name] = IpSet(name=name, type=kind, family=family, maxelem=most)
                members[name] = set()
            case ["add", name, member, *_]:
                members[name].add(member)
    return tuple(
        IpSet(name=name, type=each.type, family=each.family, maxelem=each.maxelem, members=frozenset(members[name]))
        for name, each in found.items()
    )


def holds(value: IpSet, directions: str, packet: PacketView) -> bool:
    """`directions`: `src`, `dst,src` …: which end of the packet each part of a member stands for."""
    ends = directions.split(",")
    kinds = value.type.partition(":")[2].split(",")
    if len(ends) < len(kinds) or packet.src.version != value.family:
        return False
    asked = list(zip(kinds, ends, strict=False))
    return any(
        all(_part(kind, end, part, packet) for (kind, end), part in zip(asked, each, strict=True))
        for each in _parts(value)
    )


@by_identity
def _parts(value: IpSet) -> tuple[tuple[object, ...], ...]:
    kinds = value.type.partition(":")[2].split(",")
    return tuple(tuple(_read(kinds, member)) for member in value.members)


def _read(kinds: list[str], member: str) -> Iterator[object]:
    for kind, text in zip(kinds, member.split(","), strict=True):
        match kind:
            case "ip":
                yield ip_address(text)
            case "net":
                yield ip_network(text)
            case "port":
                protocol, _, port = text.rpartition(":")
                yield protocol or "tcp", int(port)
            case _:
                raise PlanError(f"cannot tell what a set of {','.join(kinds)} holds")


def _part(kind: str, end: str, part: object, packet: PacketView) -> bool:
    source = end == "src"
    address = packet.src if source else packet.dst
    match kind:
        case "ip":
            return address == part
        case "net":
            return address in part  # type: ignore[operator]
    return packet.proto in WITH_PORTS and part == (packet.proto, packet.sport if source else packet.dport)
