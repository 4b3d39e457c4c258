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


class LegacyLog:
    """`own` tells of a family how many rules of the trace's are at the head of raw's built-in chains."""

    def __init__(self, netns: Netns, own: Callable[[int], int]) -> None:
        self._netns, self._own = netns, own
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

    def segment(self, body: bytes) -> Segment | None:
        """One event, as the passage of a chain by itself."""
        found = attributes(body[4:])
        said = _TRACE.match(found.get(_PREFIX, b""))
        payload = found.get(_PAYLOAD, b"")
        header = (payload[0] & 15) * 4 if payload and payload[0] >> 4 == 4 else 40
        parsed = packet(payload, payload[header:])
        if not said or not parsed:
            return None
        table, chain, kind, at = (part.decode() for part in said.groups())
        own = self._own(parsed[0].src.version) if table == "raw" and chain in ("PREROUTING", "OUTPUT") else 0
        number = int(at) - own
        if kind == "rule" and number <= 0:  # the last one tells where a packet begins
            return None if number else Segment(TABLE, *parsed, [])
        matched = {"rule": [Matched(table, chain, number)], "policy": [Matched(table, chain, 0)]}
        return Segment(table, *parsed, matched.get(kind, []))

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
