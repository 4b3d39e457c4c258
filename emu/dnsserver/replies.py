"""Ready-made replies, so that a question that was asked before costs one dictionary lookup.

The key is the whole message but its id, letter by letter: case, flags and EDNS options all show in the reply. With
several addresses the replies take turns, each address being first in one of them (CoreDNS's `loadbalance` shuffles;
taking turns is as even, and the same in every run).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle

from emu.dnsserver import wire
from emu.dnsserver.records import REFUSED, Answer, Record

CACHE_MAX = 8192  # replies
TURNS_MAX = 64  # ready-made orders of one reply
IN = 1

Resolve = Callable[[str, str], Answer]


class Unfinished(Exception):
    """The reply needs an upstream server."""

    def __init__(self, query: wire.Query, answer: Answer) -> None:
        super().__init__(query.name)
        self.query, self.answer = query, answer


class Replies:
    """The replies of one DNS Pod. `forwards` says whether there is an upstream server to turn to. `cache` may be
    emptied at any time, and must be when the zone changes."""

    def __init__(self, resolve: Resolve, *, forwards: bool = False) -> None:
        self._resolve, self.forwards = resolve, forwards
        self._turn = -1  # of the answers over TCP, which are not kept
        self.cache: dict[bytes, Iterator[bytes]] = {}

    def udp(self, data: bytes, family: int = 4) -> bytes:
        """The reply to a datagram, b"" for none. Raises Unfinished."""
        ready = self.cache.get(data[2:])
        if ready is None:
            try:
                ready = self._made(wire.decode(data), udp=True, family=family)
            except wire.Unanswerable as error:
                return error.reply
            if len(self.cache) >= CACHE_MAX:
                self.cache.clear()
            self.cache[data[2:]] = ready
        return data[:2] + next(ready)

    def tcp(self, data: bytes) -> bytes:
        """As `udp`, for a message that came over TCP."""
        try:
            self._turn += 1
            return data[:2] + next(self._made(wire.decode(data), udp=False, start=self._turn))
        except wire.Unanswerable as error:
            return error.reply

    def _made(self, query: wire.Query, *, udp: bool, family: int = 4, start: int = 0) -> Iterator[bytes]:
        answer = self._resolve(query.name, query.type) if query.rdclass == IN else REFUSED
        if self.forwards and (answer.outside or answer.follow):
            raise Unfinished(query, answer)
        return cycle(wire.encode(query, turned, udp=udp, family=family)[2:] for turned in turns(answer, start))


def turns(answer: Answer, start: int = 0) -> Iterator[Answer]:
    """The answer with its addresses in every rotation; CNAMEs stay before them."""
    addresses = [record for record in answer.answer if record.type in ("A", "AAAA")]
    if len(addresses) < 2:
        yield answer
        return
    others = tuple(record for record in answer.answer if record.type not in ("A", "AAAA"))
    for turn in range(start, start + min(len(addresses), TURNS_MAX)):
        yield replace(answer, answer=others + _rotated(addresses, turn % len(addresses)))


def _rotated(records: list[Record], by: int) -> tuple[Record, ...]:
    return tuple(records[by:] + records[:by])
