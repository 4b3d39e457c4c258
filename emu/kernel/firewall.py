"""iptables, and the sets its rules ask: one restore call per namespace and family, carrying every table that changes;
namespaces in parallel. A change that many shall have alike is restored in one and copied to the others (`nftbatch`).

A full text flushes the tables it names and fills them; a `--noflush` text turns what is there into what shall be.
Each table is one transaction of the kernel: no packet ever meets half of its rules.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from emu.errors import KernelError
from emu.kernel import nftbatch, process
from emu.kernel.netlink import Connection
from emu.kernel.netns import Netns
from emu.netfilter import sets, text
from emu.netfilter.model import IpSet
from emu.netfilter.steps import Pair, steps
from emu.plan import render

log = logging.getLogger(__name__)

# A kernel that must load 31,000 rules takes 1.4-4.2 s with the nft variant.
_TIMEOUT_S = 120.0
_MANY = 4  # so many alike are worth to be done as one: a tool for every CPU is as fast


@dataclass(frozen=True, slots=True)
class Restore:
    """One call of iptables-restore in one namespace."""

    netns: Netns
    family: int
    text: str
    noflush: bool


def restore(netns: Netns, rules: str, variant: str, family: int, *, noflush: bool) -> None:
    """The lock file of the legacy variant is the namespace's own, so that nodes need not wait for each other."""
    argv = _argv(variant, family, noflush)
    _say(netns, argv, rules)
    env = {**process.ENVIRONMENT, "XTABLES_LOCKFILE": f"/run/xtables.{netns.name}.lock"}
    done = process.run(argv, ns=netns, stdin=rules, timeout_s=_TIMEOUT_S, check=False, env=env)
    if done.code:
        raise KernelError(f"{netns.name}# {' '.join(argv)}: {_complaint(done.stderr, rules)}")


def _argv(variant: str, family: int, noflush: bool) -> list[str]:
    return [render.restore_tool(family, variant), "-w", *(("--noflush",) if noflush else ())]


def _say(netns: Netns, argv: Sequence[str], given: str, source: str = "") -> None:
    log.info("%s# %s <<EOF (%d bytes%s)", netns.name, " ".join(argv), len(given), source)


def restore_sets(netns: Netns, changes: Iterable[tuple[IpSet | None, IpSet | None]]) -> None:
    """What rules ask must be there before them, and can go only after them."""
    _ipset(netns, ["-exist", "restore"], "".join(sets.delta(old, new) for old, new in changes))


def saved_sets(netns: Netns) -> tuple[IpSet, ...]:
    return sets.saved(_ipset(netns, ["save"]))


def _ipset(netns: Netns, arguments: list[str], text: str = "") -> str:
    argv = ["ipset", *arguments]
    if text:
        _say(netns, argv, text)
    done = process.run(argv, ns=netns, stdin=text, timeout_s=_TIMEOUT_S, check=False)
    if done.code:
        raise KernelError(f"{netns.name}# {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def save(netns: Netns, variant: str, family: int) -> str:
    """What `iptables-save` prints."""
    tool = render.restore_tool(family, variant).replace("-restore", "-save")
    done = process.run([tool], ns=netns, timeout_s=_TIMEOUT_S, check=False)
    if done.code:
        raise KernelError(f"{netns.name}# {tool}: {done.stderr.strip()}")
    return done.stdout


def restores(netns: Netns, tables: Sequence[Pair], cache: dict[tuple[int, int], str]) -> list[Restore]:
    """The calls that bring `tables` about: at most one per family. `cache` holds the texts of pairs met before
    (by identity, so within one apply), because many nodes have the same table."""
    calls = []
    for family in (4, 6):
        mine = [(old, new) for old, new in tables if (new or old) and (new or old).family == family]  # type: ignore[union-attr]
        noflush = any(old is not None for old, _ in mine)
        rules = "".join(_text(pair, noflush, cache) for pair in (steps(mine) if noflush else mine))
        if rules:
            calls.append(Restore(netns, family, rules, noflush))
    return calls


def restore_all(calls: Iterable[Restore], variant: str) -> None:
    """Many at once: a small one mostly waits for the kernel, which lets every CPU forget the old rules before it
    answers. Every call is carried out, then the first error raised."""
    futures: list[Future[Any]] = []
    connections: list[Connection] = []
    with ThreadPoolExecutor(max_workers=16 * (os.cpu_count() or 1), thread_name_prefix="iptables") as pool:
        awaited: dict[Future[None], tuple[list[Restore], nftbatch.Blocks]] = {}
        for group in _alike(calls):
            futures.append(pool.submit(_restore, group[0], variant))
            copied = variant == "nft" and group[0].noflush and len(group) >= _MANY
            if copied and (blocks := nftbatch.blocks(group[0].text)):
                awaited[futures[-1]] = (group, blocks)
            else:
                futures += [pool.submit(_restore, call, variant) for call in group[1:]]
        for done in as_completed(awaited):
            (first, *others), blocks = awaited[done]
            made: Future[nftbatch.Batch | None] = pool.submit(nftbatch.batch, first.netns, first.family, blocks)
            batch = None if done.exception() or made.exception() else made.result()
            futures += [made, *(pool.submit(_copy, call, first, batch, connections) for call in others)]
    if connections:
        threading.Thread(target=_close, args=(connections,), name="nfnetlink", daemon=True).start()
    for future in futures:
        future.result()


def _alike(calls: Iterable[Restore]) -> list[list[Restore]]:
    groups: dict[tuple[int, bool, str], list[Restore]] = {}
    for call in calls:
        groups.setdefault((call.family, call.noflush, call.text), []).append(call)
    return list(groups.values())


def _copy(call: Restore, first: Restore, batch: nftbatch.Batch | None, connections: list[Connection]) -> None:
    if batch and (connection := nftbatch.carry_out(call.netns, batch)):
        _say(call.netns, _argv("nft", call.family, call.noflush), call.text, f", copied from {first.netns.name}")
        connections.append(connection)
    else:
        _restore(call, "nft")


def _restore(call: Restore, variant: str) -> None:
    restore(call.netns, call.text, variant, call.family, noflush=call.noflush)


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.close()


def _text(pair: Pair, noflush: bool, cache: dict[tuple[int, int], str]) -> str:
    old, new = pair
    key = (id(old), id(new))
    if key not in cache:
        cache[key] = text.delta(old, new) if noflush or new is None else text.restore(new)
    return cache[key]


def _complaint(stderr: str, rules: str) -> str:
    """The tool's words, and the line of the text they speak of."""
    said = next(iter(stderr.strip().splitlines()), "failed without a word")
    number = re.search(r"line:? (\d+)", stderr)
    line = rules.splitlines()[int(number[1]) - 1] if number and int(number[1]) <= rules.count("\n") else ""
    return f"{said}\n  line {number[1]}: {line}" if number and line not in ("", "COMMIT") else said
