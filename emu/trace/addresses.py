"""Addresses as the texts of routes and rules have them."""

from __future__ import annotations

from dataclasses import replace

from emu.plan.model import IPAddress
from emu.trace.model import Headers


def to_endpoint(text: str, seen: Headers) -> Headers:
    """The packet on its way to `10.244.1.2:80`, `[fd00::1]:80` or `10.244.1.2`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or (":" in host and not host.endswith("]")):
        host, port = text, str(seen.dport)
    return replace(seen, dst=address(host.strip("[]"), seen.dst), dport=int(port))


def unanswered(asked: IPAddress, where: str) -> str:
    """In IPv6 it is neighbor discovery (RFC 4861) that asks for a MAC."""
    how = "ARP" if asked.version == 4 else "neighbor solicitations"
    return f"nobody answers {how} for {asked} on {where}"


def address(text: str, like: IPAddress) -> IPAddress:
    try:
        return type(like)(text)
    except ValueError:
        return like
