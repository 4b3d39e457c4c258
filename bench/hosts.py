"""Bare Mininet: hosts with their default shells and nothing else: no links, no addresses, no rules."""

from __future__ import annotations

import time

from mininet.node import Host


def made(count: int) -> float:
    """Seconds. The sandbox's end is the end of the shells."""
    start = time.perf_counter()
    hosts = [Host(f"h{number}") for number in range(count)]
    seconds = time.perf_counter() - start
    assert "lo" in hosts[-1].cmd("ip -o link")
    return seconds
