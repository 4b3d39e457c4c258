"""NAME
    iptables: kube-proxy's default mode

PACKET PATH
    to a ClusterIP    nat PREROUTING or OUTPUT → KUBE-SERVICES → KUBE-SVC-… → (random) KUBE-SEP-… DNAT
    off the Node      nat POSTROUTING → KUBE-POSTROUTING: MASQUERADE what was marked 0x4000 on the way
    without backends  filter FORWARD or OUTPUT → KUBE-SERVICES: REJECT (DROP if other Nodes have some)

KERNEL OBJECTS
    chains KUBE-* in nat and filter, the empty KUBE-PROXY-CANARY in mangle, nat and filter (a reload of the firewall
    by others is noticed by its absence), sysctls route_localnet and the conntrack time-outs

LIMITS
    Rules are tried in order: the first packet of a connection to the n-th Service passes about n rules.
    More than 1000 endpoints: the rules of single endpoints have no comments.
    kube-proxy goes through Services in random order; here they go by name.

OPTIONS (of `proxy.options`, named as in KubeProxyConfiguration)
    detectLocalMode ClusterCIDR or None; masqueradeAll; localhostNodePorts; nodePortAddresses

SOURCES
    kubernetes v1.30 pkg/proxy/iptables/proxier.go; cmd/kube-proxy/app/server_linux.go (conntrack)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from emu.addressing import EVERYTHING
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Frontend, IPAddress, IPNetwork, Node
from emu.memo import Memo, by_identity
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Hook, NetnsKind, NetnsPlan, RulesetPart, Sysctl
from emu.planners import choices
from emu.planners.proxy import iptables_service as service
from emu.planners.proxy.endpoints import uses_local

NAME = "iptables"
OWNER = "kube-proxy"
LARGE_CLUSTER = 1000  # endpoints; source: proxier.go, largeClusterEndpointsThreshold
FIREWALL, FORWARD, POSTROUTING, CANARY = "KUBE-FIREWALL", "KUBE-FORWARD", "KUBE-POSTROUTING", "KUBE-PROXY-CANARY"
MARKED = Match("mark", "--mark", "0x4000/0x4000")
NEW = Match("conntrack", "--ctstate", "NEW")
KNOWN = ("detectLocalMode", "masqueradeAll", "localhostNodePorts", "nodePortAddresses")
LAST_RULE = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How kube-proxy was started. `cluster_cidr` "": no detector of local traffic."""

    cluster_cidr: str = ""
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()
    random_fully: bool = True  # iptables >= 1.6.2
    tcp_liberal: bool = False


def check(topology: Topology) -> None:
    options_of(topology.proxy.options, EVERYTHING[4])


def plan(cluster: Cluster) -> Iterator[Fragment]:
    for node in cluster.nodes:
        yield _sysctls(node.name, cluster)
    for family in cluster.families:
        of_family = (f for f in cluster.frontends if f.cluster_ip.version == family)
        frontends = tuple(sorted(of_family, key=lambda f: (str(f), f.protocol)))
        options = options_of(cluster.topology.proxy.options, next(r for r in cluster.pod_ranges if r.version == family))
        for node in cluster.nodes:
            yield Rules(node.name, ruleset(family, frontends, options, node))


def options_of(given: Mapping[str, object], cluster_cidr: IPNetwork) -> Options:
    """Checks the topology's `proxy.options`."""
    for key in given:
        if key not in KNOWN:
            raise choices.unknown("proxy", NAME, key, KNOWN)
    mode = given.get("detectLocalMode", "ClusterCIDR")
    if mode not in ("ClusterCIDR", "None"):
        raise _wrong("detectLocalMode", f"is {shown(mode)}, must be ClusterCIDR or None")
    return Options(
        cluster_cidr=str(cluster_cidr) if mode == "ClusterCIDR" else "",
        masquerade_all=_flag(given, "masqueradeAll", False),
        localhost_node_ports=_flag(given, "localhostNodePorts", True),
        node_port_addresses=_ranges(given.get("nodePortAddresses", ())),
    )


def _wrong(option: str, what: str) -> Wrong:
    return Wrong(what, "proxy", "options", option)


def _flag(given: Mapping[str, object], key: str, default: bool) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(key, f"is {shown(value)}, must be true or false")
    return value


def _ranges(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong("nodePortAddresses", f"is {shown(value)}, must be a list of ranges")
    try:
        return tuple(str(ip_network(each)) for each in value)
    except ValueError as error:
        raise _wrong("nodePortAddresses", f"is wrong: {error}") from error


def ruleset(family: int, frontends: Sequence[Frontend], options: Options, node: Node) -> RulesetPart:
    """All rules of one Node and family. Nodes whose rules are equal get the same object."""
    own = tuple(ip.ip for ip in node.addresses if ip.ip.version == family)
    entrances = _node_port_addresses(family, own, options)
    if any(uses_local(frontend) or frontend.load_balancer_ips for frontend in frontends):
        rendered = _all(frontends, options, node.name, own)
    else:
        rendered = _same_everywhere(frontends, options)
    return _part((family, options, entrances, tuple(map(id, rendered))), family, options, entrances, rendered)


def _all(
    frontends: Sequence[Frontend], options: Options, node: str, own: tuple[IPAddress, ...]
) -> tuple[service.ServiceRules, ...]:
    brief = sum(len(frontend.backends) for frontend in frontends) > LARGE_CLUSTER
    return tuple(_rendered(frontend, options, node, own, brief) for frontend in frontends)


@partial(by_identity, size=4)
def _same_everywhere(frontends: Sequence[Frontend], options: Options) -> tuple[service.ServiceRules, ...]:
    """Of Services whose rules are the same on every Node."""
    return _all(frontends, options, "", ())


def _rendered(
    frontend: Frontend, options: Options, node: str, own: tuple[IPAddress, ...], brief: bool
) -> service.ServiceRules:
    fits = bool(own and frontend.load_balancer_ips) and any(own[0] in network for network in frontend.source_ranges)
    view = service.View(
        cluster_cidr=options.cluster_cidr,
        masquerade_all=options.masquerade_all,
        node=node if uses_local(frontend) else "",
        node_ip=own[0] if fits else None,
        brief=brief,
    )
    key = (str(frontend), frontend.protocol, frontend.cluster_ip.version, view.node, view.node_ip)
    return _service_rules(key, frontend, view)


_service_rules: Memo[service.ServiceRules] = Memo(service.render, size=1 << 16)


def _node_port_addresses(family: int, own: tuple[IPAddress, ...], options: Options) -> tuple[str, ...] | None:
    """None: all local addresses take NodePort traffic; otherwise the ones that do."""
    ranges = [network for network in map(ip_network, options.node_port_addresses) if network.version == family]
    if not options.node_port_addresses or any(network.prefixlen == 0 for network in ranges):
        return None
    return tuple(str(ip) for ip in own if any(ip in network for network in ranges))


def _assemble(
    family: int, options: Options, entrances: tuple[str, ...] | None, rendered: tuple[service.ServiceRules, ...]
) -> RulesetPart:
    tables = (
        Table(family, "mangle", (Chain(CANARY),)),
        Table(family, "nat", tuple(_nat_chains(family, options, entrances, rendered))),
        Table(family, "filter", tuple(_filter_chains(family, options, rendered))),
    )
    return RulesetPart(owner=OWNER, family=family, tables=tables, hooks=tuple(_hooks(family, options)))


_part: Memo[RulesetPart] = Memo(_assemble, size=1024)


def _nat_chains(
    family: int, options: Options, entrances: tuple[str, ...] | None, rendered: tuple[service.ServiceRules, ...]
) -> Iterator[Chain]:
    shared = [entry for rules in rendered for entry in rules.nat]
    portals = [rule for chain, rule in shared if chain == service.SERVICES]
    yield Chain(service.SERVICES, (*portals, *_node_port_jumps(family, options, entrances)))
    yield Chain(service.NODEPORTS, tuple(rule for chain, rule in shared if chain == service.NODEPORTS))
    yield Chain(POSTROUTING, tuple(_postrouting(options)))
    yield Chain(service.MARK_MASQ, (Rule((), "MARK", "--or-mark 0x4000"),))
    yield Chain(CANARY)
    for rules in rendered:
        yield from rules.chains


def _node_port_jumps(family: int, options: Options, entrances: tuple[str, ...] | None) -> Iterator[Rule]:
    if entrances is not None:
        for ip in entrances:
            yield Rule((Match("", "-d", ip),), service.NODEPORTS, comment=LAST_RULE)
        return
    loopback: tuple[Match, ...] = ()
    if family == 6:  # never works: IPv6 has no route_localnet
        loopback = (Match("", "-d", "::1/128", negated=True),)
    elif not options.localhost_node_ports:
        loopback = (Match("", "-d", "127.0.0.0/8", negated=True),)
    yield Rule((service.TO_HERE, *loopback), service.NODEPORTS, comment=LAST_RULE)


def _postrouting(options: Options) -> Iterator[Rule]:
    yield Rule((Match("mark", "--mark", "0x4000/0x4000", negated=True),), "RETURN")
    # Cleared, so that a packet that comes back into the stack (an overlay) is not masqueraded twice.
    yield Rule((), "MARK", "--xor-mark 0x4000")
    fully = "--random-fully" if options.random_fully else ""
    yield Rule((), "MASQUERADE", fully, comment="kubernetes service traffic requiring SNAT")


def _filter_chains(family: int, options: Options, rendered: tuple[service.ServiceRules, ...]) -> Iterator[Chain]:
    shared = [entry for rules in rendered for entry in rules.filter]
    for name in (service.NODEPORTS, service.SERVICES, service.EXTERNAL_SERVICES, service.PROXY_FIREWALL):
        yield Chain(name, tuple(rule for chain, rule in shared if chain == name))
    yield Chain(FORWARD, tuple(_forward(options)))
    if _guards_localnet(family, options):
        yield Chain(FIREWALL, (_localnet_guard(),))
    yield Chain(CANARY)


def _forward(options: Options) -> Iterator[Rule]:
    if not options.tcp_liberal:
        yield Rule((Match("conntrack", "--ctstate", "INVALID"),), "DROP")
    yield Rule((MARKED,), "ACCEPT", comment="kubernetes forwarding rules")
    known = Match("conntrack", "--ctstate", "RELATED,ESTABLISHED")
    yield Rule((known,), "ACCEPT", comment="kubernetes forwarding conntrack rule")


def _guards_localnet(family: int, options: Options) -> bool:
    return family == 4 and options.localhost_node_ports


def _localnet_guard() -> Rule:
    """route_localnet lets packets to 127/8 in from outside; this keeps strangers' out."""
    local = (Match("", "-d", "127.0.0.0/8"), Match("", "-s", "127.0.0.0/8", negated=True))
    stray = Match("conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT", negated=True)
    return Rule((*local, stray), "DROP", comment="block incoming localnet connections")


#: (table, parent, matches, comment, target), in the order kube-proxy PREPENDS them: the last ends up first.
JUMPS: tuple[tuple[str, str, tuple[Match, ...], str, str], ...] = (
    ("filter", "INPUT", (NEW,), "kubernetes externally-visible service portals", service.EXTERNAL_SERVICES),
    ("filter", "FORWARD", (NEW,), "kubernetes externally-visible service portals", service.EXTERNAL_SERVICES),
    ("filter", "INPUT", (), "kubernetes health check service ports", service.NODEPORTS),
    ("filter", "FORWARD", (NEW,), "kubernetes service portals", service.SERVICES),
    ("filter", "OUTPUT", (NEW,), "kubernetes service portals", service.SERVICES),
    ("filter", "FORWARD", (), "kubernetes forwarding rules", FORWARD),
    ("filter", "INPUT", (NEW,), "kubernetes load balancer firewall", service.PROXY_FIREWALL),
    ("filter", "OUTPUT", (NEW,), "kubernetes load balancer firewall", service.PROXY_FIREWALL),
    ("filter", "FORWARD", (NEW,), "kubernetes load balancer firewall", service.PROXY_FIREWALL),
    ("nat", "OUTPUT", (), "kubernetes service portals", service.SERVICES),
    ("nat", "PREROUTING", (), "kubernetes service portals", service.SERVICES),
    ("nat", "POSTROUTING", (), "kubernetes postrouting rules", POSTROUTING),
    ("filter", "INPUT", (), "", FIREWALL),
    ("filter", "OUTPUT", (), "", FIREWALL),
)


def _hooks(family: int, options: Options) -> Iterator[Hook]:
    for table, parent, matches, comment, target in reversed(JUMPS):
        if target != FIREWALL or _guards_localnet(family, options):
            rule = Rule(matches, target, comment=comment, comment_at=len(matches))
            yield Hook(table=table, chain=parent, rule=rule)


def _make_sysctls(name: str, localhost: bool) -> NetnsPlan:
    """kube-proxy also sets nf_conntrack_max, which is one for the whole machine and not the lab's to change."""
    values = {
        "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",  # 24 h
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",  # 1 h
    }
    if localhost:
        values["net.ipv4.conf.all.route_localnet"] = "1"
    sysctls = tuple(Sysctl(key=key, value=value) for key, value in values.items())
    return NetnsPlan(name=name, kind=NetnsKind.NODE, owner=name, sysctls=sysctls)


_sysctl_fragment: Memo[NetnsPlan] = Memo(_make_sysctls)


def _sysctls(node: str, cluster: Cluster) -> NetnsPlan:
    localhost = 4 in cluster.families and _flag(cluster.topology.proxy.options, "localhostNodePorts", True)
    return _sysctl_fragment(node, node, localhost)
