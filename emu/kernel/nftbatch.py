"""One text of rules for many namespaces: iptables-restore carries it out in one of them, and what the kernel has there
since then is sent to the others, each table as a transaction, as the tool would.

The tool is what costs: it needs longer to translate a text than the kernel to carry it out, and ends only when the
kernel has forgotten the old rules (closing a netlink socket waits for that: nf_tables_api.c, nft_rcv_nl_event). Here
the text tells the order of things, and the kernel's own dump the expressions of each rule: nothing of iptables is
spelled anew.
"""

from __future__ import annotations

import re
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import cache
from typing import NamedTuple

from emu.kernel import nftrules
from emu.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    Connection,
    Request,
    attr,
    attr_text,
    message,
    nested,
)
from emu.kernel.netns import Netns

# linux/netfilter/nfnetlink.h and nf_tables.h
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_*
_NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE = (nftrules.NFTABLES << 8 | kind for kind in (3, 5, 6, 8))
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_COMPAT_PROTO, _COMPAT_FLAGS, _COMPAT_INVERTED = 1, 2, 2
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_APPEND = 0x800  # NLM_F_APPEND

_BE32 = struct.Struct(">I")
_SO_SNDBUFFORCE = 32
_LAST = 1  # the sequence number of the one message that asks for an answer

_LINE = re.compile(r"^(?:([*:]|-[AX] )(\S+)(.*)|COMMIT)$")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PROTOCOL = re.compile(r"( !)? -p (\S+)")
_PROTOCOLS = {"icmp": 1, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
#: ipset numbers its sets in each namespace by itself, and a rule has the number.
_OF_ONE_NETNS = re.compile(r" -m set | -j SET ")

_NO_BYTES = attr(_COUNTER_BYTES, bytes(8))
_NO_PACKETS = attr(_COUNTER_PACKETS, bytes(8))
#: The expression that counts a rule's packets, with what it has counted.
_COUNTED = re.compile(
    b"(counter\0....)" + re.escape(_NO_BYTES[:4]) + b".{8}" + re.escape(_NO_PACKETS[:4]) + b".{8}", re.DOTALL
)
_FEW = 64  # chains that are asked for one by one; to read a table of 3,000 rules takes 20 ms

Place = bytes  # the attributes that name a table and a chain of it


class Line(NamedTuple):
    """What a line of a text does to a chain. `verb` is ":" (there, and empty), "-A " or "-X "."""

    verb: str
    table: str
    chain: str
    place: Place
    compat: bytes = b""  # what the kernel's dump leaves out: the protocol that a rule's matches are checked for


Blocks = list[list[Line]]
Batch = tuple[bytes, ...]  # the transactions


def blocks(text: str) -> Blocks | None:
    """What a `--noflush` text does, by the tables' COMMITs. None where that could be another thing in another
    namespace, or is more than to fill chains of one's own, each of them once, and to delete some."""
    plain = _QUOTED.sub("", text)
    if _OF_ONE_NETNS.search(plain):
        return None
    place, compat = cache(nftrules.place), cache(_compat)
    found: Blocks = []
    emptied: set[Place] = set()
    table = ""
    for line in plain.splitlines():
        if not (read := _LINE.match(line)):
            return None
        verb, name, rest = read.groups()
        said = _PROTOCOL.search(rest) if verb == "-A " else None
        if verb == "*":
            table = name
            found.append([])
        elif verb:
            here = place(table, name)
            if (said and said[2] not in _PROTOCOLS) or (
                verb == ":" and (not rest.startswith(" - ") or here in emptied)
            ):
                return None
            if verb == ":":
                emptied.add(here)
            found[-1].append(Line(verb, table, name, here, compat(*said.groups()) if said else b""))
    return [block for block in found if block]


def _compat(negated: str | None, protocol: str) -> bytes:
    number, flags = _PROTOCOLS[protocol], _COMPAT_INVERTED if negated else 0
    return nested(nftrules.COMPAT, attr(_COMPAT_PROTO, _BE32.pack(number)), attr(_COMPAT_FLAGS, _BE32.pack(flags)))


def batch(netns: Netns, family: int, wanted: Blocks) -> Batch | None:
    """What does elsewhere what a text of these blocks has done in `netns`. None when a chain has more or fewer rules
    there by now."""
    filled = [line for block in wanted for line in block if line.verb == "-A "]
    try:
        rules = _rules(netns, family, {line.place: line for line in filled})
    except OSError:
        return None
    if any(len(rules[place]) != number for place, number in Counter(line.place for line in filled).items()):
        return None
    left = {place: iter(found) for place, found in rules.items()}
    return tuple(_transaction(family, block, left) for block in wanted)


def carry_out(netns: Netns, wanted: Batch) -> Connection | None:
    """Each is carried out as a whole or not at all; None when one was not, or it is not known. The connection is to be
    closed when nobody minds the wait."""
    with suppress(OSError), ExitStack() as unless_done:  # too big for an ordinary user's socket, or no answer
        connection = unless_done.enter_context(closing(nftrules.connected(netns)))
        connection.sock.setblocking(False)  # the kernel has answered when `send` returns
        for transaction in wanted:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(transaction))
            with suppress(PermissionError):
                connection.sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(transaction))
            connection.sock.send(transaction)
            # Refusals come before the one answer that was asked for.
            if next(connection.answers(), None) != (_LAST, 0, ""):
                return None
        unless_done.pop_all()
        return connection
    return None


def _transaction(family: int, block: Sequence[Line], rules: Mapping[Place, Iterator[bytes]]) -> bytes:
    head = nftrules.HEAD.pack(nftrules.FAMILIES[family], 0, 0)
    *first, last = (request for line in block for request in _requests(line, head, rules))
    edge = nftrules.HEAD.pack(socket.AF_UNSPEC, 0, nftrules.NFTABLES)
    return b"".join(
        (
            message(Request(_BEGIN, 0, edge)),
            *map(message, first),
            message(last._replace(flags=last.flags | NLM_F_ACK), _LAST),
            message(Request(_END, 0, edge)),
        )
    )


def _requests(line: Line, head: bytes, rules: Mapping[Place, Iterator[bytes]]) -> Iterator[Request]:
    """`rules` are those that are still to be added, of each chain."""
    chain = head + attr_text(_CHAIN_TABLE, line.table) + attr_text(_CHAIN_NAME, line.chain)
    match line.verb:
        case "-A ":
            rule = head + line.place + next(rules[line.place]) + line.compat
            yield Request(_NEWRULE, NLM_F_CREATE | _APPEND, rule)
        case ":":
            yield Request(_NEWCHAIN, NLM_F_CREATE, chain)
            yield Request(_DELRULE, 0, head + line.place)
        case "-X ":
            yield Request(_DELCHAIN, 0, chain)


def _rules(netns: Netns, family: int, chains: Mapping[Place, Line]) -> dict[Place, list[bytes]]:
    """What of each rule does not depend on where it is: its expressions, and iptables' own data with it."""
    found: dict[Place, list[bytes]] = {place: [] for place in chains}
    tables = {attr_text(nftrules.TABLE, line.table): None for line in chains.values()}
    with closing(nftrules.connected(netns)) as connection:
        for asked in chains if len(chains) <= _FEW else tables:
            for of in nftrules.listed(connection, family, asked):
                place = attr(nftrules.TABLE, of[nftrules.TABLE]) + attr(nftrules.CHAIN, of[nftrules.CHAIN])
                if place in found:
                    user = attr(nftrules.USERDATA, of[nftrules.USERDATA]) if nftrules.USERDATA in of else b""
                    counted_none = _COUNTED.sub(rb"\1" + _NO_BYTES + _NO_PACKETS, of[nftrules.EXPRESSIONS])
                    found[place].append(attr(nftrules.EXPRESSIONS, counted_none) + user)
    return found
