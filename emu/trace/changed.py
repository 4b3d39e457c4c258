"""What differs between a packet at one hop and at the next, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from emu.netfilter import evaluate, normal
from emu.plan.model import IPAddress
from emu.trace.conntrack import ICMP
from emu.trace.model import Headers, Hop

CLEARED = "cleared"


def with_changes(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops, each with what changed against the one before."""
    before: Hop | None = None
    told = []
    for hop in hops:
        told.append(replace(hop, changed=tuple(between(before, hop)) if before else ()))
        before = hop
    return tuple(told)


def between(before: Hop, after: Hop) -> Iterator[str]:
    """`DNAT 10.96.0.10:53 → 10.244.1.2:53`, `SNAT …`, `ttl 64 → 63`, `VXLAN to 192.168.100.12`."""
    a, b = before.inner, after.inner
    ends, ends_now = _ends(a), _ends(b)
    for what, was, now in (("DNAT", ends[1], ends_now[1]), ("SNAT", ends[0], ends_now[0])):
        if was != now:
            yield f"{what} {was} → {now}"
    if a.proto == b.proto and b.proto in ICMP and a.sport != b.sport and a.sport and b.sport:
        yield f"identifier {a.sport} → {b.sport}"
    if a.ttl != b.ttl:
        yield f"ttl {a.ttl} → {b.ttl}"
    old, new = before.encapsulation, after.encapsulation
    if new and not old:
        yield f"{new.kind.upper()} to {new.outer.dst}"
    if old and new and old.outer.ttl != new.outer.ttl:
        yield f"outer ttl {old.outer.ttl} → {new.outer.ttl}"
    if old and not new:
        yield f"{old.kind.upper()} taken off"
    for what, was, now in (("", a, b), *([("outer packet ", old.outer, new.outer)] if old and new else ())):
        if was.fragments != now.fragments:
            yield f"{what}in {now.fragments} fragments" if now.fragments else f"{what}put together"
    if (before.src_mac, before.dst_mac) != (after.src_mac, after.dst_mac) and after.src_mac and after.dst_mac:
        yield f"frame from {after.src_mac} to {after.dst_mac}"


def _ends(headers: Headers) -> tuple[str, str]:
    """Source and destination. What stands for the port of an ICMP echo is its identifier, which is of neither."""
    if headers.proto in ICMP:
        return str(headers.src), str(headers.dst)
    return endpoint(headers.src, headers.sport), endpoint(headers.dst, headers.dport)


def endpoint(address: IPAddress, port: int) -> str:
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def flow_text(headers: Headers) -> str:
    """`10.244.1.2:40000 → 10.96.0.10:53`; a port that may be any is left out."""
    if headers.proto in ("tcp", "udp", "sctp"):
        return f"{endpoint(headers.src, headers.sport)} → {endpoint(headers.dst, headers.dport)}"
    return f"{headers.src} → {headers.dst}"


def connection_marked(options: str) -> str:
    """What a CONNMARK rule with these options does: `connection mark 0x80 set`."""
    action, nfmask, ctmask = normal.connmark(options)
    if action == "--restore-mark":
        return f"mark taken from the connection's, mask {ctmask:#x}"
    if action == "--save-mark":
        return f"mark kept as the connection's, mask {nfmask:#x}"
    return f"connection {marked(options)}"


def ttl_set(options: str) -> str:
    """What a TTL rule does: `ttl + 1`."""
    option, value = options.split()
    return f"ttl {({'--ttl-inc': '+ ', '--ttl-dec': '- '}).get(option, '')}{value}"


def redirected(options: str) -> str:
    """`--to-ports 80`, of REDIRECT: to this port of the device that the packet came by."""
    port = evaluate.redirected(options)
    return f"redirected to port {port}" if port else "redirected"


def marked(options: str) -> str:
    """What a MARK rule with these options does: `mark 0x4000 set`."""
    value, mask = normal.xmark(options)
    return f"mark {value or mask:#x} {('set' if value else CLEARED) if mask else 'flipped'}"
