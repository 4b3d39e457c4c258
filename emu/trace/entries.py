"""What the text of a conntrack entry says of a packet, as `conntrack -L` prints it: both directions of a flow, the
original one first. And an address as a rule's option has it."""

from __future__ import annotations

import re
from dataclasses import replace

from emu.plan.model import IPAddress
from emu.trace.model import Headers

_FIELD = re.compile(r"\b(src|dst|sport|dport|id)=(\S+)")


def source_is_restored(entry: str, seen: Headers) -> bool:
    """A Node's own answer to a translated packet: conntrack's reply direction has another source."""
    reply = _reply(entry)
    return reply.get("dst") == str(seen.dst) and reply.get("src", str(seen.src)) != str(seen.src)


def original(entry: str, seen: Headers) -> Headers:
    """The packet as its socket made it: the original direction of its conntrack entry, if that is its direction."""
    fields = _original(entry)
    to_itself = fields.get("src") == fields.get("dst")  # then the ports tell the directions apart
    goes_back = str(seen.src) == fields.get("dst") and (not to_itself or str(seen.sport) == fields.get("dport"))
    if not fields.get("src") or goes_back:
        return seen
    src, dst = address(fields["src"], seen.src), address(fields.get("dst", ""), seen.dst)
    sport = int(fields.get("sport") or fields.get("id") or seen.sport)
    return replace(seen, src=src, dst=dst, sport=sport, dport=int(fields.get("dport") or seen.dport))


def translated(entry: str, seen: Headers) -> Headers:
    """A packet of the original direction with the destination DNAT gives it: that which answers."""
    fields, answers = _original(entry), _reply(entry)
    if (fields.get("src"), fields.get("dst")) != (str(seen.src), str(seen.dst)) or "src" not in answers:
        return seen
    return replace(seen, dst=address(answers["src"], seen.dst), dport=int(answers.get("sport") or seen.dport))


def to_endpoint(text: str, seen: Headers) -> Headers:
    """The packet on its way to `10.244.1.2:80`, `[fd00::1]:80` or `10.244.1.2`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or (":" in host and not host.endswith("]")):
        host, port = text, str(seen.dport)
    return replace(seen, dst=address(host.strip("[]"), seen.dst), dport=int(port))


def _original(entry: str) -> dict[str, str]:
    return dict(_FIELD.findall(" ".join(reversed(entry.split()))))  # the last wins: the first of each


def _reply(entry: str) -> dict[str, str]:
    return dict(_FIELD.findall(entry))


def address(text: str, like: IPAddress) -> IPAddress:
    try:
        return type(like)(text)
    except ValueError:
        return like
