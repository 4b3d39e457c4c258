"""The mark a packet has when its route is chosen, from the rules it matched until then."""

from __future__ import annotations

from collections.abc import Iterable

from emu.netfilter import normal


def mark_of(lines: Iterable[str], connection_mark: int) -> int:
    """`lines`: the rules of PREROUTING, as iptables text; `connection_mark`: of its conntrack entry."""
    mark = 0
    for line in lines:
        target, _, options = line.partition(" -j ")[2].partition(" ")
        if target == "MARK":
            value, mask = normal.xmark(options)
            mark = mark & ~mask ^ value
        elif target == "CONNMARK" and options.startswith("--restore-mark"):
            _, nfmask, ctmask = normal.connmark(options)
            mark = mark & ~nfmask ^ connection_mark & ctmask
    return mark
