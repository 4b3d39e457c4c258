"""Rule handles → the rules' text. iptables-save prints a chain's rules in the order in which the kernel lists them,
and netlink lists the handles: the two are read side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing

from emu.kernel import nftrules, process
from emu.kernel.netns import Netns
from emu.kernel.tracing_events import Matched
from emu.kernel.tracing_switch import own

_TOOLS = {4: "iptables", 6: "ip6tables"}
Chain = tuple[str, str]  # table, chain


class RuleTexts:
    """The rules of one namespace and family as they are now."""

    def __init__(self, netns: Netns, family: int, variant: str) -> None:
        self._netns, self._family, self._variant = netns, family, variant
        done = process.run([f"{_TOOLS[family]}-{variant}-save"], ns=netns, check=False)
        self._lines = _by_chain(done.stdout)
        self._accepting = _accepting(done.stdout)
        self._handles: dict[Chain, list[int]] = {}

    def text(self, matched: Matched) -> str:
        """`-t nat -A KUBE-SERVICES …`; a rule that is not iptables' own by its handle; a policy that drops as `-P`,
        one that accepts as ""."""
        chain = (matched.table, matched.chain)
        if matched.handle == 0:
            return "" if chain in self._accepting else f"-t {matched.table} -P {matched.chain} DROP"
        lines, handles = self._lines.get(chain, []), self._numbers(chain)
        if len(lines) != len(handles) or matched.handle not in handles:
            tables = "ip" if self._family == 4 else "ip6"
            return f"nft rule in {tables} {matched.table} {matched.chain} handle {matched.handle}"
        return f"-t {matched.table} {lines[handles.index(matched.handle)]}"

    def _numbers(self, chain: Chain) -> list[int]:
        if chain not in self._handles:
            count = len(self._lines.get(chain, []))
            nft = self._variant == "nft"
            self._handles[chain] = list(self._dump(*chain)) if nft else list(range(1, count + 1))
        return self._handles[chain]

    def _dump(self, table: str, chain: str) -> Iterator[int]:
        with closing(nftrules.connected(self._netns)) as connection:
            for found in nftrules.listed(connection, self._family, nftrules.place(table, chain)):
                if (_text(found[nftrules.TABLE]), _text(found[nftrules.CHAIN])) == (table, chain):
                    yield int.from_bytes(found[nftrules.HANDLE], "big")


def _by_chain(saved: str) -> dict[Chain, list[str]]:
    table, found = "", defaultdict(list)
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and not own(line):
            found[table, line.split(" ", 2)[1]].append(line)
    return dict(found)


def _accepting(saved: str) -> set[Chain]:
    """The built-in chains whose policy is ACCEPT: `:FORWARD ACCEPT [0:0]`."""
    table, found = "", set()
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line.split()[1] == "ACCEPT":
            found.add((table, line.split()[0][1:]))
    return found


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()
