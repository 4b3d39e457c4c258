"""Trace events of iptables-legacy, which come through netfilter's log: `TRACE: nat:PREROUTING:rule:2` and the packet.
A namespace's log goes to nfnetlink_log while this is open. Source: net/ipv4/netfilter/ip_tables.c, nfnetlink_log.h."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from emu.errors import MissingFeature
from emu.kernel.netlink import NETLINK_NETFILTER, Connection, Request, attr, attr_u8, attributes, give_room
from emu.kernel.netns import Netns, entered, socket_in
from emu.kernel.tracing_events import TABLE, Matched, Segment, packet

MSG_PACKET = 4 << 8  # NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET
_MSG_CONFIG = 4 << 8 | 1
_CMD, _MODE, _THRESHOLD = 1, 2, 5
_BIND, _COPY_PACKET, _BYTES = 1, 2, 128
_PAYLOAD, _PREFIX = 9, 10
_LOGGER = "nfnetlink_log"
_TRACE = re.compile(rb"TRACE: (\w+):(\S+):(rule|return|policy):(\d+) ")
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_STAGES = {"PREROUTING": 0, "OUTPUT": 0, "INPUT": 1, "FORWARD": 1, "POSTROUTING": 2}
_TABLES = ("raw", "mangle", "nat", "filter", "security")  # in the order of their hooks


class LegacyLog:
    """`own` tells of a family how many rules of the trace's are at the head of raw's built-in chains."""

    def __init__(self, netns: Netns, own: Callable[[int], int]) -> None:
        self._netns, self._own = netns, own
        self._last: dict[str, tuple[int, int, int]] = {}  # of a packet's key: where it was last
        self.sock = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        give_room(self.sock)
        self.sock.bind((0, 0))
        head = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0)  # group 0
        settings = (
            attr_u8(_CMD, _BIND),
            attr(_MODE, struct.pack("!IBx", _BYTES, _COPY_PACKET)),
            attr(_THRESHOLD, struct.pack("!I", 1)),  # send each at once: as it is, a second may pass
        )
        failed = Connection(self.sock).execute([Request(_MSG_CONFIG, 0, head + setting) for setting in settings])
        if failed:
            self.sock.close()
            raise MissingFeature("netfilter log by netlink", module="nfnetlink_log")
        self._before = [self._switch(family, _LOGGER) for family in _FAMILIES]

    def segments(self, body: bytes) -> tuple[Segment, ...]:
        """One event, as the passage of a chain by itself; behind one of the trace's own where a packet begins."""
        found = attributes(body[4:])
        said = _TRACE.match(found.get(_PREFIX, b""))
        payload = found.get(_PAYLOAD, b"")
        header = (payload[0] & 15) * 4 if payload and payload[0] >> 4 == 4 else 40
        parsed = packet(payload, payload[header:])
        if not said or not parsed:
            return ()
        table, chain, kind, at = (part.decode() for part in said.groups())
        own = self._own(parsed[0].src.version) if table == "raw" and chain in ("PREROUTING", "OUTPUT") else 0
        number = int(at) - own
        begun = (Segment(TABLE, *parsed, []),) if self._begins(parsed[1], table, chain, number) else ()
        if kind == "rule" and number <= 0:
            return begun
        matched = {"rule": [Matched(table, chain, number)], "policy": [Matched(table, chain, 0)]}
        return (*begun, Segment(table, *parsed, matched.get(kind, [])))

    def _begins(self, key: str, table: str, chain: str, number: int) -> bool:
        """Whether a packet begins here: a later one can have the key of an earlier one (over IPv6, which has no packet
        ids, a SYN that is sent again), but one packet comes to a built-in chain's rules in their order."""
        if chain not in _STAGES:
            return False
        place = (_STAGES[chain], _TABLES.index(table), number)
        last, self._last[key] = self._last.get(key), place
        return last is None or (_STAGES[chain] == 0 and place <= last)

    def close(self) -> None:
        for family, before in zip(_FAMILIES, self._before, strict=True):
            self._switch(family, before)
        self.sock.close()

    def _switch(self, family: int, logger: str) -> str:
        """Returns the logger before. /proc/sys/net is that of the thread that opens it."""
        with entered(self._netns):
            file = Path(f"/proc/sys/net/netfilter/nf_log/{int(family)}")
            before = file.read_text().strip()
            file.write_text(logger)
        return before
