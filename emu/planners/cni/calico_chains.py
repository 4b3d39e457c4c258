"""Felix's chains that are the same on every Node, with their hooks: what goes to the Pods' own chains, what is let in
from other Nodes, what is masqueraded. The chains of host endpoints are there, empty.

Marks: 0x10000 accepted, 0x20000 passed on to the profiles, 0x40000 came from a Pod, 0x80000 scratch; Felix takes them
in order out of 0xffff0000. A rule set of releases 3.26 to 3.30; later ones have a bit for `drop` between.

Source: projectcalico/calico felix/rules/static.go, nat.go."""

from __future__ import annotations

from emu.memo import Memo
from emu.netfilter.model import Chain, Table
from emu.plan.model import Hook, RulesetPart
from emu.planners.cni import calico_sets
from emu.planners.cni.calico_felix import APPENDED, chain, commented, rules
from emu.planners.cni.calico_sets import MASQUERADED, PEERS, POOLS, Tunnel

INSERTED, AT_THE_END = "calico", "calico-appended"  # plan.hooks
PODS = "cali+"
ACCEPT, FROM_POD, ALL = "0x10000", "0x40000", "0xf0000"
ACCEPTED = f"-m mark --mark {ACCEPT}/{ACCEPT}"
CAME_FROM_POD = f"-m mark --mark {FROM_POD}/{FROM_POD}"
CLEAR = f"--jump MARK --set-mark 0/{ALL}"
HEP_ACCEPTED = "Host endpoint policy accepted packet."
VXLAN_PORT = 4789
VXLAN = f"-p 17 -m multiport --destination-ports {VXLAN_PORT}"
LOCAL_SOURCE, LOCAL_DESTINATION = "-m addrtype --src-type LOCAL", "-m addrtype --dst-type LOCAL"
ICMPV6 = (130, 131, 132, 133, 135, 136)  # what a Pod needs of its router: listeners, solicitations, neighbors
HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "POSTROUTING"),
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def _make_static(family: int, tunnel: Tunnel | None, masquerades: bool) -> RulesetPart:
    hooks = tuple(
        Hook(table=table, chain=builtin, rule=next(rules(builtin, [f"--jump cali-{builtin}"])))
        for table, builtins in HOOKS.items()
        for builtin in builtins
    )
    made = {
        "raw": _raw(tunnel),
        "mangle": _mangle(),
        "nat": _nat(family, tunnel, masquerades),
        "filter": _filter(family, tunnel),
    }
    tables = tuple(Table(family, name, chains) for name, chains in made.items())
    return RulesetPart(owner=INSERTED, family=family, tables=tables, hooks=hooks)


def _make_end(family: int) -> RulesetPart:
    lines = [
        commented("Policy explicitly accepted packet.", f"{ACCEPTED} --jump ACCEPT"),
        f"--jump MARK --set-mark {ACCEPT}/{ACCEPT}",  # mangle: this was forwarded
    ]
    hooks = (Hook(table="filter", chain="FORWARD", rule=rule) for rule in rules("FORWARD", lines, APPENDED))
    return RulesetPart(owner=AT_THE_END, family=family, hooks=tuple(hooks))


#: What stands at the top of the kernel's chains, and what at the end of FORWARD.
static: Memo[RulesetPart] = Memo(_make_static)
end: Memo[RulesetPart] = Memo(_make_end)


def _raw(tunnel: Tunnel | None) -> tuple[Chain, ...]:
    """A VXLAN packet has another source port in each direction: conntrack would see two flows without answers."""
    untracked = [f"-p udp --dport {VXLAN_PORT} --jump NOTRACK"] if tunnel and tunnel.kind == "vxlan" else []
    prerouting = [
        CLEAR,
        *untracked,
        f"--in-interface {PODS} --jump MARK --set-mark {FROM_POD}/{FROM_POD}",
        f"{CAME_FROM_POD} --jump cali-rpf-skip",
        f"{CAME_FROM_POD} -m rpfilter --invert --validmark --jump DROP",  # a Pod with another's address
        f"-m mark --mark 0/{FROM_POD} --jump cali-from-host-endpoint",
        f"{ACCEPTED} --jump ACCEPT",
    ]
    output = [CLEAR, "--jump cali-to-host-endpoint", *untracked, f"{ACCEPTED} --jump ACCEPT"]
    empty = ("cali-rpf-skip", "cali-from-host-endpoint", "cali-to-host-endpoint")
    return (chain("cali-PREROUTING", prerouting), chain("cali-OUTPUT", output), *map(Chain, empty))


def _mangle() -> tuple[Chain, ...]:
    prerouting = [
        "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT",
        f"{ACCEPTED} --jump ACCEPT",
        "--jump cali-from-host-endpoint",
        commented(HEP_ACCEPTED, f"{ACCEPTED} --jump ACCEPT"),
    ]
    postrouting = [
        f"{ACCEPTED} --jump RETURN",
        CLEAR,
        "-m conntrack --ctstate DNAT --jump cali-to-host-endpoint",
        commented(HEP_ACCEPTED, f"{ACCEPTED} --jump RETURN"),
    ]
    empty = ("cali-from-host-endpoint", "cali-to-host-endpoint")
    return (chain("cali-PREROUTING", prerouting), chain("cali-POSTROUTING", postrouting), *map(Chain, empty))


def _nat(family: int, tunnel: Tunnel | None, masquerades: bool) -> tuple[Chain, ...]:
    """What leaves the pools is masqueraded; and what a Node sends into its tunnel with another address than the
    tunnel's, because a Service's address had chosen the source."""
    wrong_source = "-m addrtype ! --src-type LOCAL --limit-iface-out"
    masquerade = "--jump MASQUERADE --random-fully"
    postrouting = ["--jump cali-fip-snat", "--jump cali-nat-outgoing"]
    if tunnel:
        postrouting.append(f"--out-interface {tunnel.device} {wrong_source} {LOCAL_SOURCE} {masquerade}")
    inside, outside = (calico_sets.name(family, each) for each in (MASQUERADED, POOLS))
    outgoing = [f"-m set --match-set {inside} src -m set ! --match-set {outside} dst {masquerade}"]
    return (
        chain("cali-PREROUTING", ["--jump cali-fip-dnat"]),
        chain("cali-OUTPUT", ["--jump cali-fip-dnat"]),
        chain("cali-POSTROUTING", postrouting),
        chain("cali-nat-outgoing", outgoing if masquerades else []),
        Chain("cali-fip-dnat"),
        Chain("cali-fip-snat"),
    )


def _filter(family: int, tunnel: Tunnel | None) -> tuple[Chain, ...]:
    to_host = [f"-p 58 -m icmp6 --icmpv6-type {kind} --jump ACCEPT" for kind in ICMPV6] if family == 6 else []
    to_host += ["--jump cali-from-wl-dispatch", commented("Configured DefaultEndpointToHostAction", "--jump ACCEPT")]
    forward = [
        "--jump MARK --set-mark 0/0xe0000",
        f"-m mark --mark 0/{ACCEPT} --jump cali-from-hep-forward",
        f"--in-interface {PODS} --jump cali-from-wl-dispatch",
        f"--out-interface {PODS} --jump cali-to-wl-dispatch",
        "--jump cali-to-hep-forward",
        "--jump cali-cidr-block",
    ]
    empty = ("from-hep-forward", "to-hep-forward", "cidr-block", "from-host-endpoint", "to-host-endpoint")
    return (
        chain("cali-INPUT", _input(family, tunnel)),
        chain("cali-wl-to-host", to_host),
        chain("cali-FORWARD", forward),
        chain("cali-OUTPUT", _output(family, tunnel)),
        *(Chain(f"cali-{name}") for name in empty),
    )


def _input(family: int, tunnel: Tunnel | None) -> list[str]:
    """Tunnel packets of Nodes only: what anybody else wraps must not come in as if from a Pod."""
    allowed = []
    if tunnel:
        kind, packet = _said(family, tunnel)
        known, unknown = _who(tunnel)
        peers = calico_sets.name(family, PEERS[tunnel.kind])
        allowed = [
            commented(
                f"Allow {kind} packets from {known}",
                f"{packet} -m set --match-set {peers} src {LOCAL_DESTINATION} --jump ACCEPT",
            ),
            commented(f"Drop {kind} packets from {unknown}", f"{packet} {_only_here(tunnel)}--jump DROP"),
        ]
    return [
        *allowed,
        f"--in-interface {PODS} --goto cali-wl-to-host",
        f"{ACCEPTED} --jump ACCEPT",
        CLEAR,
        "--jump cali-from-host-endpoint",
        commented(HEP_ACCEPTED, f"{ACCEPTED} --jump ACCEPT"),
    ]


def _output(family: int, tunnel: Tunnel | None) -> list[str]:
    allowed = []
    if tunnel:
        kind, packet = _said(family, tunnel)
        peers = f"-m set --match-set {calico_sets.name(family, PEERS[tunnel.kind])} dst"
        matches = (LOCAL_SOURCE, peers) if tunnel.kind == "vxlan" else (peers, LOCAL_SOURCE)
        whom = "other allowed hosts" if tunnel.kind == "vxlan" else "other Calico hosts"
        allowed = [commented(f"Allow {kind} packets to {whom}", f"{packet} {' '.join(matches)} --jump ACCEPT")]
    return [
        f"{ACCEPTED} --jump ACCEPT",
        f"--out-interface {PODS} --jump RETURN",  # a Node always reaches its own Pods
        *allowed,
        CLEAR,
        "-m conntrack ! --ctstate DNAT --jump cali-to-host-endpoint",
        commented(HEP_ACCEPTED, f"{ACCEPTED} --jump ACCEPT"),
    ]


def _said(family: int, tunnel: Tunnel) -> tuple[str, str]:
    """How comments call the tunnel's packets, and the match for them."""
    return (f"IPv{family} VXLAN", VXLAN) if tunnel.kind == "vxlan" else ("IPIP", "-p 4")


def _who(tunnel: Tunnel) -> tuple[str, str]:
    return ("allowed hosts", "non-allowed hosts") if tunnel.kind == "vxlan" else ("Calico hosts", "non-Calico hosts")


def _only_here(tunnel: Tunnel) -> str:
    return f"{LOCAL_DESTINATION} " if tunnel.kind == "vxlan" else ""
