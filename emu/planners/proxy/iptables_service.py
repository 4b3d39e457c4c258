"""kube-proxy's rules for one Service port, in the order kube-proxy writes them.

Source: kubernetes pkg/proxy/iptables/proxier.go, syncProxyRules (v1.30)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emu import names
from emu.cluster.model import Backend, Frontend, IPAddress
from emu.netfilter.model import Chain, Match, Rule
from emu.planners.proxy.endpoints import Categories, categorize, external, uses_cluster, uses_local

MARK_MASQ = "KUBE-MARK-MASQ"
NODEPORTS = "KUBE-NODEPORTS"
SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
FROM_HERE = Match("addrtype", "--src-type", "LOCAL")
TO_HERE = Match("addrtype", "--dst-type", "LOCAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRules:
    """What one Service port adds to the shared chains of a table, and its own chains (all in nat)."""

    nat: tuple[tuple[str, Rule], ...]  # (chain, rule)
    filter: tuple[tuple[str, Rule], ...]
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a Node adds to a Frontend. `node` and `node_ip` are empty where no rule depends on them, so that Nodes
    with equal rules share them."""

    cluster_cidr: str  # "": no detector of local traffic
    masquerade_all: bool = False
    node: str = ""
    node_ip: IPAddress | None = None
    brief: bool = False  # large cluster mode: no comments on endpoints


def render(frontend: Frontend, view: View) -> ServiceRules:
    return _Service(frontend, view).rules()


class _Service:
    """One Frontend seen from one Node. Methods give rules; which apply is decided in `rules`."""

    def __init__(self, frontend: Frontend, view: View) -> None:
        self.f, self.view, self.name = frontend, view, str(frontend)
        self.protocol = frontend.protocol.lower()
        self.ends: Categories = categorize(frontend, view.node)
        self.svc, self.svl, self.ext, self.fw = (
            names.kube_chain(prefix, self.name, self.protocol)
            for prefix in ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-")
        )
        self.has_internal = bool(self.ends.local) if frontend.internal_local else self.ends.any_usable
        self.has_external = bool(self.ends.local) if frontend.external_local else self.ends.any_usable
        self.internal_chain = self.svl if frontend.internal_local else self.svc
        self.firewalled = bool(self.ends.any_usable and frontend.load_balancer_ips and frontend.source_ranges)

    def rules(self) -> ServiceRules:
        return ServiceRules(nat=tuple(self._entries()), filter=tuple(self._filter()), chains=tuple(self._chains()))

    # --- the shared chains -------------------------------------------------------------------------------------------

    def _to(self, address: IPAddress | None, port: int) -> tuple[Match, ...]:
        """`-m tcp -p tcp -d ADDRESS --dport PORT`, as kube-proxy writes it."""
        where = (Match("", "-d", str(address)),) if address is not None else ()
        return (
            Match(self.protocol), Match("", "-p", self.protocol), *where, Match(self.protocol, "--dport", str(port)),
        )  # fmt: skip

    def _entries(self) -> Iterator[tuple[str, Rule]]:
        f = self.f
        if self.has_internal:
            to = self._to(f.cluster_ip, f.port)
            yield SERVICES, Rule(to, self.internal_chain, comment=f"{self.name} cluster IP")
        if not self.ends.any_usable:
            return
        for ip in f.external_ips:
            yield SERVICES, Rule(self._to(ip, f.port), self.ext, comment=f"{self.name} external IP")
        for ip in f.load_balancer_ips:
            target = self.fw if self.firewalled else self.ext
            yield SERVICES, Rule(self._to(ip, f.port), target, comment=f"{self.name} loadbalancer IP")
        if f.node_port:
            yield NODEPORTS, Rule(self._to(None, f.node_port), self.ext, comment=self.name)

    def _filter(self) -> Iterator[tuple[str, Rule]]:
        f = self.f
        if not self.has_internal:
            yield SERVICES, self._refusal(self._to(f.cluster_ip, f.port))
        for ip in f.external_ips if not self.has_external else ():
            yield EXTERNAL_SERVICES, self._refusal(self._to(ip, f.port))
        for ip in f.load_balancer_ips:
            if self.firewalled:
                why = f"{self.name} traffic not accepted by {self.fw}"
                yield PROXY_FIREWALL, Rule(self._to(ip, f.port), "DROP", comment=why)
            if not self.has_external:
                yield EXTERNAL_SERVICES, self._refusal(self._to(ip, f.port))
        if f.node_port and not self.has_external:
            yield EXTERNAL_SERVICES, self._refusal((TO_HERE, *self._to(None, f.node_port)))
        if f.health_check_node_port:
            to = self._to(None, f.health_check_node_port)
            yield NODEPORTS, Rule(to, "ACCEPT", comment=f"{self.name} health check node port")

    def _refusal(self, to: tuple[Match, ...]) -> Rule:
        """REJECT when nobody serves it; DROP when only this Node has nobody (a load balancer then tries another)."""
        if self.ends.any_usable:
            return Rule(to, "DROP", comment=f"{self.name} has no local endpoints")
        return Rule(to, "REJECT", comment=f"{self.name} has no endpoints")

    # --- its own chains ----------------------------------------------------------------------------------------------

    def _chains(self) -> Iterator[Chain]:
        if not self.ends.any_usable:
            return
        if external(self.f):
            yield Chain(self.ext, tuple(self._external_rules()))
        if self.firewalled:
            yield Chain(self.fw, tuple(self._firewall_rules()))
        for chain, backends, used in (
            (self.svc, self.ends.cluster, uses_cluster(self.f)),
            (self.svl, self.ends.local, uses_local(self.f)),
        ):
            if used and backends:
                masquerade = self._masquerade_rules() if chain == self.internal_chain else ()
                yield Chain(chain, (*masquerade, *self._affinity_rules(backends), *self._balance_rules(backends)))
        for backend in self.ends.reachable:
            yield self._endpoint_chain(backend)

    def _masquerade_rules(self) -> Iterator[Rule]:
        """Traffic to the ClusterIP from elsewhere than a Pod gets the Node's address, or the reply would miss it."""
        to, comment = self._to(self.f.cluster_ip, self.f.port), f"{self.name} cluster IP"
        if self.view.masquerade_all:
            yield Rule(to, MARK_MASQ, comment=comment)
        elif self.view.cluster_cidr:
            not_a_pod = Match("", "-s", self.view.cluster_cidr, negated=True)
            yield Rule((*to, not_a_pod), MARK_MASQ, comment=comment)

    def _external_rules(self) -> Iterator[Rule]:
        of = f"traffic for {self.name} external destinations"
        if not self.f.external_local:
            yield Rule((), MARK_MASQ, comment=f"masquerade {of}")
            yield Rule((), self.svc)
            return
        if self.view.cluster_cidr:
            yield Rule((Match("", "-s", self.view.cluster_cidr),), self.svc, comment=f"pod {of}")
        yield Rule((FROM_HERE,), MARK_MASQ, comment=f"masquerade LOCAL {of}")
        yield Rule((FROM_HERE,), self.svc, comment=f"route LOCAL {of}")
        if self.has_external:
            yield Rule((), self.svl)

    def _firewall_rules(self) -> Iterator[Rule]:
        comment = f"{self.name} loadbalancer IP"
        for network in self.f.source_ranges:
            yield Rule((Match("", "-s", str(network)),), self.ext, comment=comment)
        # A load balancer's address is often a local one: the Node's own request then comes from it.
        if self.view.node_ip is not None and any(self.view.node_ip in network for network in self.f.source_ranges):
            for ip in self.f.load_balancer_ips:
                yield Rule((Match("", "-s", str(ip)),), self.ext, comment=comment)
        yield Rule(comment=f"other traffic to {self.name} will be dropped by {PROXY_FIREWALL}")

    def _endpoint(self, backend: Backend) -> str:
        return names.kube_chain("KUBE-SEP-", self.name, self.protocol, str(backend))

    def _balance_comment(self, backend: Backend) -> str:
        return "" if self.view.brief else f"{self.name} -> {backend}"

    def _affinity_rules(self, backends: tuple[Backend, ...]) -> Iterator[Rule]:
        for backend in backends if self.f.affinity_s else ():
            sep = self._endpoint(backend)
            seen = (
                Match("recent", "--name", sep), Match("recent", "--rcheck"),
                Match("recent", "--seconds", str(self.f.affinity_s)), Match("recent", "--reap"),
            )  # fmt: skip
            yield Rule(seen, sep, comment=self._balance_comment(backend))

    def _balance_rules(self, backends: tuple[Backend, ...]) -> Iterator[Rule]:
        """Each takes 1/n of what the ones before it left; the last takes the rest."""
        for index, backend in enumerate(backends):
            left = len(backends) - index
            drawn = (
                (Match("statistic", "--mode", "random"), Match("statistic", "--probability", probability(left)))
                if left > 1
                else ()
            )
            yield Rule(drawn, self._endpoint(backend), comment=self._balance_comment(backend))

    def _endpoint_chain(self, backend: Backend) -> Chain:
        name, comment = self._endpoint(backend), "" if self.view.brief else self.name
        hairpin = Rule((Match("", "-s", str(backend.address)),), MARK_MASQ, comment=comment)
        noted = (Match("recent", "--name", name), Match("recent", "--set")) if self.f.affinity_s else ()
        protocol = (Match(self.protocol), Match("", "-p", self.protocol))
        dnat = Rule((*noted, *protocol), "DNAT", f"--to-destination {backend}", comment)
        return Chain(name, (hairpin, dnat))


def probability(left: int) -> str:
    """`%0.10f` of 1/n: as kube-proxy writes it. Source: proxier.go, computeProbability."""
    return f"{1.0 / left:.10f}"
