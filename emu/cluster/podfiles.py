"""The files a kubelet gives a Pod: /etc/resolv.conf by dnsPolicy, /etc/hosts, the hostname.

Source: kubernetes pkg/kubelet/network/dns/dns.go, pkg/kubelet/kubelet_pods.go (managedHostsFileContent).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emu.api.cnimodes import cni_mode
from emu.api.objects import PodDNSConfig, PodSpec
from emu.api.topology import Topology
from emu.cluster.model import IPAddress
from emu.cluster.nodes import ranges
from emu.errors import InputError
from emu.memo import by_identity

MAX_NAMESERVERS = 3
MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 32, 2048
MAX_HOSTNAME = 63
DNS_INDEX = 10  # kubeadm: the cluster DNS is the tenth address of the service range

_HOSTS_HEAD = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hostname(name: str, spec: PodSpec) -> str:
    """`spec.hostname`, or the Pod's name cut to what the kernel and DNS allow."""
    return spec.hostname or name[:MAX_HOSTNAME].rstrip("-.")


@by_identity
def cluster_dns(topology: Topology) -> IPAddress:
    """Where Pods send their queries: kube-dns has one family, the cluster's first, as kubeadm makes it."""
    return ranges(topology, "services")[0][DNS_INDEX]


def has_cluster_dns(topology: Topology) -> bool:
    """Without a proxy the address of the cluster DNS leads nowhere, as that of any Service."""
    return topology.proxy.mode != "none" or topology.dns.replicas > 0


def resolver(topology: Topology) -> str:
    """Where each Pod's own runtime answers for names; "" where it does not, or a cluster DNS does instead."""
    return "" if has_cluster_dns(topology) else cni_mode(topology.cni.mode).resolver


def resolv_conf(spec: PodSpec, namespace: str, topology: Topology) -> str:
    """The file's text. A Node's own file has the lab's upstream server or nothing: no name leaves the lab. A kubelet
    that knows of no cluster DNS gives that file to all."""
    domain = topology.dns.domain
    if (embedded := resolver(topology)) and spec.dns_policy != "None":
        return _text(*_merged([embedded], [], {"ndots": "0"}, spec.dns_config))
    own = [topology.dns.upstream] if topology.dns.upstream else []
    known = spec.dns_policy == "None" or has_cluster_dns(topology)
    match spec.dns_policy if known else "Default":
        case "ClusterFirst" | "ClusterFirstWithHostNet":
            servers, options = [str(cluster_dns(topology))], {"ndots": "5"}
            searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        case "Default":
            servers, searches, options = own, [], {}
        case "None":
            servers, searches, options = [], [], {}
            if spec.dns_config is None or not spec.dns_config.nameservers:
                raise InputError("spec.dnsPolicy is None: spec.dnsConfig.nameservers must have at least one entry")
        case other:
            raise InputError(
                f"spec.dnsPolicy is {other!r}, must be ClusterFirst, ClusterFirstWithHostNet, Default or None"
            )
    return _text(*_merged(servers, searches, options, spec.dns_config))


def _merged(
    servers: list[str], searches: list[str], options: dict[str, str], config: PodDNSConfig | None
) -> tuple[list[str], list[str], dict[str, str]]:
    """dnsConfig on top of the policy: appended without doubles, an option of the same name replaces."""
    config = config or PodDNSConfig()
    return (
        list(dict.fromkeys((*servers, *config.nameservers))),
        list(dict.fromkeys((*searches, *config.searches))),
        {**options, **{option.name: option.value or "" for option in config.options}},
    )


def _text(servers: Sequence[str], searches: Sequence[str], options: dict[str, str]) -> str:
    lines = [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    if kept := _limited(searches):
        lines.insert(0, f"search {' '.join(kept)}")
    if options:
        lines.append("options " + " ".join(f"{name}:{value}" if value else name for name, value in options.items()))
    return "".join(f"{line}\n" for line in lines)


def _limited(searches: Sequence[str]) -> list[str]:
    """Kubelet cuts the list, glibc would otherwise ignore the rest without a word."""
    kept = list(searches[:MAX_SEARCHES])
    while len(" ".join(kept)) > MAX_SEARCH_CHARACTERS:
        kept.pop()
    return kept


def hosts(name: str, namespace: str, spec: PodSpec, addresses: Iterable[str], domain: str) -> str:
    own = hostname(name, spec)
    names = f"{own}.{spec.subdomain}.{namespace}.svc.{domain}\t{own}" if spec.subdomain else own
    text = _HOSTS_HEAD + "".join(f"{address}\t{names}\n" for address in addresses)
    if spec.host_aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in spec.host_aliases)
    return text
