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


def address(text: str, like: IPAddress) -> IPAddress:
    try:
        return type(like)(text)
    except ValueError:
        return like
