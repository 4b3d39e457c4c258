"""What cilium-agent leaves in a Node's tables although its programs need no rule: chains for the traffic of its
proxies, for that of the Node's own programs, and where others would masquerade. With BPF masquerading those of nat are
empty. The rules for packets sent to a proxy (TPROXY) come with the proxy, and there is none. `! -o lo` is in what
current releases save.

Source: cilium/cilium v1.17 pkg/datapath/iptables/iptables.go (installStaticProxyRules, installForwardChainRulesIpX,
installHostTrafficMarkRule), custom_chain.go; pkg/datapath/linux/linux_defaults/mark.go."""

from __future__ import annotations

from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Hook, RulesetPart

OWNER = "cilium"
HOST, NET, LXC = "cilium_host", "cilium_net", "lxc+"
TO_PROXY, PROXY_REPLY, PROXY, UPSTREAM = "0x200/0xf00", "0xa00/0xfffffeff", "0xa00/0xe00", "0x800/0xe00"
DECRYPT, ENCRYPT, OVERLAY, DNS_PROXY = "0xd00/0xf00", "0xe00/0xf00", "0x400/0xf00", "0xf00/0xf00"
TO_WORLD = "0x800/0xf00"
NO_TRACK = ("CT", "--notrack")


def _rule(comment: str, *matches: Match, to: tuple[str, str]) -> Rule:
    return Rule(matches, *to, f"cilium: {comment}", comment_at=len(matches))


def _mark(value: str) -> Match:
    return Match("mark", "--mark", value)


def _unmarked(*values: str) -> tuple[Match, ...]:
    """Each by a `-m mark` of its own."""
    tests = (each for value in values for each in (Match("mark"), Match("mark", "--mark", value, negated=True)))
    return tuple(tests)[1:]


def _device(option: str, name: str, negated: bool = False) -> Match:
    return Match("", option, name, negated)


def _untracked() -> tuple[Rule, ...]:
    reply, upstream = "NOTRACK for proxy return traffic", "NOTRACK for L7 proxy upstream traffic"
    kinds = ((reply, PROXY_REPLY), (upstream, UPSTREAM))
    return tuple(
        _rule(comment, _device("-o", dev), _mark(value), to=NO_TRACK) for comment, value in kinds for dev in (LXC, HOST)
    )


def _forwarded() -> tuple[Rule, ...]:
    ways = (
        (f"any->cluster on {HOST} forward accept", "-o", HOST),
        (f"cluster->any on {HOST} forward accept (nodeport)", "-i", HOST),
        (f"cluster->any on {LXC} forward accept", "-i", LXC),
        (f"cluster->any on {NET} forward accept (nodeport)", "-i", NET),
    )
    return tuple(_rule(comment, _device(option, dev), to=("ACCEPT", "")) for comment, option, dev in ways)


def _redirected() -> Rule:
    matches = (
        _device("-o", "lo", negated=True),
        Match("socket", "--transparent"),
        *_unmarked(ENCRYPT, TO_WORLD),
    )
    comment = "any->pod redirect proxied traffic to host proxy"
    return _rule(comment, *matches, to=("MARK", "--set-xmark 0x200/0xffffffff"))


def _sent() -> tuple[Rule, ...]:
    others = _unmarked(DECRYPT, ENCRYPT, OVERLAY, PROXY, UPSTREAM, DNS_PROXY)
    return (
        _rule("ACCEPT for proxy traffic", _mark(PROXY), to=("ACCEPT", "")),
        _rule("ACCEPT for l7 proxy upstream traffic", _mark(UPSTREAM), to=("ACCEPT", "")),
        _rule("host->any mark as from host", *others, to=("MARK", "--set-xmark 0xc00/0xf00")),
    )


#: (table, the kernel's chain that leads there, own chain, its rules), in the order the agent makes them.
CHAINS: tuple[tuple[str, str, str, tuple[Rule, ...]], ...] = (
    ("filter", "INPUT", "CILIUM_INPUT", (_rule("ACCEPT for proxy traffic", _mark(TO_PROXY), to=("ACCEPT", "")),)),
    ("filter", "OUTPUT", "CILIUM_OUTPUT", _sent()),
    ("raw", "OUTPUT", "CILIUM_OUTPUT_raw", _untracked()),
    ("nat", "POSTROUTING", "CILIUM_POST_nat", ()),
    ("nat", "OUTPUT", "CILIUM_OUTPUT_nat", ()),
    ("nat", "PREROUTING", "CILIUM_PRE_nat", ()),
    ("mangle", "POSTROUTING", "CILIUM_POST_mangle", ()),
    ("mangle", "PREROUTING", "CILIUM_PRE_mangle", (_redirected(),)),
    ("raw", "PREROUTING", "CILIUM_PRE_raw", (_rule("NOTRACK for proxy traffic", _mark(TO_PROXY), to=NO_TRACK),)),
    ("filter", "FORWARD", "CILIUM_FORWARD", _forwarded()),
)

#: The same on every Node.
PART = RulesetPart(
    owner=OWNER,
    family=4,
    tables=tuple(
        Table(4, name, tuple(Chain(chain, rules) for table, _, chain, rules in CHAINS if table == name))
        for name in ("raw", "mangle", "nat", "filter")
    ),
    hooks=tuple(
        Hook(table=table, chain=hook, rule=Rule((), chain, comment=f"cilium-feeder: {chain}"))
        for table, hook, chain, _ in CHAINS
    ),
)
