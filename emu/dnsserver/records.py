"""The values of a reply: records in presentation form, and a whole answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """A resource record of class IN. `data` is the text a zone file would hold."""

    name: str
    ttl: int
    type: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply without its question. `follow` is a name outside the zone that the last CNAME points to: the server
    resolves it upstream and appends what it gets. `outside` says that the question belongs to nobody here."""

    rcode: str = "NOERROR"
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = True
    recursive: bool = False  # it says that it asks others
    truncated: bool = False
    follow: str = ""
    outside: bool = False


REFUSED = Answer(rcode="REFUSED", authoritative=False)
OUTSIDE = Answer(rcode="REFUSED", authoritative=False, outside=True)
SERVFAIL = Answer(rcode="SERVFAIL", authoritative=False)
