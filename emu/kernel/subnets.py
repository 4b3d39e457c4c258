"""A cloud's subnets in a router's namespace: their nftables tables, written in one transaction and read back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

from emu.errors import KernelError, MissingFeature
from emu.kernel import process
from emu.kernel.netns import Netns
from emu.plan import subnet
from emu.plan.model import Changes, IPNetwork, NetnsPlan
from emu.plan.subnet import FRAMES, HOOKS, IN, MACS, MARK, OUT, Subnet, SubnetAddress, SubnetPort, Value

log = logging.getLogger(__name__)

FEATURE = "nftables of family netdev with the egress hook"
REMEDY = "Linux 5.16 or later, with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_EGRESS"
_TIMEOUT_S = 60.0
_TRIAL = 'add table netdev t; add chain netdev t c { type filter hook egress device "lo" priority filter; }'


def check(changes: Changes) -> None:
    """Before the first effect. Raises MissingFeature."""
    if any(isinstance(value, SubnetPort) for change in changes.netns for value in change.added):
        tried()


def tried() -> str:
    """For `emu doctor`. nft asks the kernel, which takes back what it was asked."""
    if process.run(["nft", "--check", _TRIAL], check=False).code:
        raise MissingFeature(FEATURE, hint=REMEDY)
    return ""


def write(netns: Netns, values: Sequence[Value]) -> None:
    """Raises KernelError."""
    if values:
        _nft(netns, "".join(f"{line}\n" for line in subnet.additions(values)))


def remove(netns: Netns, values: Sequence[Value]) -> None:
    """What of these is still there: nft gives up at the first thing that is not, and devices take their chains along.
    Raises KernelError."""
    if not values:
        return
    objects = _listed(netns)
    there: set[subnet.Part] = {("table", each["name"]) for each in objects["table"]}
    there |= {("chain", each["table"], each["name"]) for each in objects["chain"]}
    there |= {("element", name, place, key) for name, place, key, _ in _elements(objects)}
    if lines := [f"{subnet.deletion(part)}\n" for value in values for part in subnet.parts(value) if part in there]:
        _nft(netns, "".join(lines))


def read(netns: Netns, plan: NetnsPlan, links: set[str]) -> tuple[Value, ...]:
    """What the planned tables hold, and all of the ports whose links are there: a newer kernel's chain (seen on 6.18)
    outlives the device at whose hook it is."""
    wanted = {each.table: each for each in plan.subnets if isinstance(each, Subnet)}
    return tuple(_found(_listed(netns), wanted, links)) if wanted else ()


def _found(objects: dict[str, list[Any]], wanted: dict[str, Subnet], links: set[str]) -> Iterator[Value]:
    rules = _rules(objects["rule"])
    for table in objects["table"]:
        if (planned := wanted.get(table["name"])) is not None:
            ours = all(rules.get((planned.table, way), []) == _expressions(planned)[way] for way in HOOKS)
            yield Subnet(network=planned.network, router=planned.router, intact=ours and _has_sets(objects, planned))
            at = {c["name"]: c["hook"] for c in objects["chain"] if c["table"] == planned.table and "hook" in c}
            for dev in sorted({name.partition("-")[2] for name in at} & links):
                port = SubnetPort(network=planned.network, dev=dev)
                if all(_jumps(planned.table, way, name, at, rules) for way, name in port.chains):
                    yield port
    yield from _addresses(objects, wanted)


def _jumps(table: str, way: str, chain: str, at: dict[str, str], rules: dict[tuple[str, str], list[Any]]) -> bool:
    return at.get(chain) == HOOKS[way] and rules.get((table, chain)) == [[{"jump": {"target": way}}]]


def _has_sets(objects: dict[str, list[Any]], planned: Subnet) -> bool:
    found = {(each["table"], each["name"]) for kind in ("map", "set") for each in objects[kind]}
    return {(planned.table, MACS), (planned.table, FRAMES)} <= found


def _addresses(objects: dict[str, list[Any]], wanted: dict[str, Subnet]) -> Iterator[SubnetAddress]:
    places: dict[tuple[IPNetwork, IPNetwork, str], list[str]] = {}
    for name, place, key, mac in _elements(objects):
        if name in wanted:
            address = ip_network(key.rpartition(" . ")[2])
            places.setdefault((wanted[name].network, address, mac), []).append(place)
    for (network, address, mac), found in places.items():
        only = "" if len(found) > 1 else found[0]
        yield SubnetAddress(network=network, address=address, mac=mac, only=only)


def _elements(objects: dict[str, list[Any]]) -> Iterator[tuple[str, str, str, str]]:
    """(table, map or set, key as it is said to nft, MAC)."""
    for each in _ours(objects["map"], MACS):
        for key, mac in each.get("elem", ()):
            yield from ((each["table"], MACS, address, mac) for address in _said(key))
    for each in _ours(objects["set"], FRAMES):
        for mac, key in (_bare(element)["concat"] for element in each.get("elem", ())):
            yield from ((each["table"], FRAMES, f"{mac} . {address}", mac) for address in _said(key))


def _ours(found: list[Any], name: str) -> list[Any]:
    return [each for each in found if each["name"] == name and each["table"].startswith(subnet.PREFIX)]


def _said(value: Any) -> Iterator[str]:
    """An address or a prefix; somebody's range as the prefixes it is made of."""
    value = _bare(value)
    if isinstance(value, str):
        yield value
    elif "prefix" in value:
        yield f"{value['prefix']['addr']}/{value['prefix']['len']}"
    else:
        yield from map(subnet.shown, summarize_address_range(*map(ip_address, value["range"])))


def _bare(value: Any) -> Any:
    """Without a comment that somebody has put to it."""
    return value["elem"]["val"] if isinstance(value, dict) and "elem" in value else value


def _rules(rules: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """The expressions of each, by table and chain."""
    found: dict[tuple[str, str], list[Any]] = {}
    for each in rules:
        found.setdefault((each["table"], each["chain"]), []).append(each["expr"])
    return found


def _expressions(planned: Subnet) -> dict[str, list[Any]]:
    """`Subnet.rules` as nft reads them back (libnftables-json(5))."""
    ether, arp, ip = (partial(_payload, each) for each in ("ether", "arp", "ip"))
    answer, asked = _match(arp("operation"), "reply"), arp("saddr ip")
    taken = _match({"concat": [ether("daddr"), ip("daddr")]}, f"@{FRAMES}")
    mark = {"meta": {"key": "mark"}}
    return {
        IN: [[taken, _set({"meta": {"key": "pkttype"}}, "host"), _set(mark, MARK)]],
        OUT: [
            [answer, _set(arp("saddr ether"), _mac_of(asked)), _set(ether("saddr"), _mac_of(asked)), {"accept": None}],
            [answer, _match(asked, str(planned.router), "!="), {"drop": None}],
            [_match(mark, MARK), _set(ether("saddr"), _mac_of(ip("saddr")))],
        ],
    }


def _payload(protocol: str, field: str) -> Any:
    return {"payload": {"protocol": protocol, "field": field}}


def _match(left: Any, right: object, op: str = "==") -> Any:
    return {"match": {"op": op, "left": left, "right": right}}


def _set(key: Any, value: object) -> Any:
    return {"mangle": {"key": key, "value": value}}


def _mac_of(address: Any) -> Any:
    return {"map": {"key": address, "data": f"@{MACS}"}}


def _listed(netns: Netns) -> dict[str, list[Any]]:
    """Everything of the family, by kind of object."""
    done = process.run(["nft", "-j", "list", "ruleset", "netdev"], ns=netns, timeout_s=_TIMEOUT_S)
    objects: dict[str, list[Any]] = {"table": [], "map": [], "set": [], "chain": [], "rule": []}
    for each in json.loads(done.stdout)["nftables"]:
        for kind, value in each.items():
            objects.setdefault(kind, []).append(value)
    return objects


def _nft(netns: Netns, text: str) -> None:
    log.info("%s# nft -f - <<EOF (%d bytes)", netns.name, len(text))
    done = process.run(["nft", "-f", "-"], ns=netns, stdin=text, timeout_s=_TIMEOUT_S, check=False)
    if done.code:
        raise KernelError(f"{netns.name}# nft -f -: {done.stderr.strip()}")
