from __future__ import annotations

import pytest
from cluster_world import cluster, container, pod, topology

from emu.api.objects import HostAlias, PodDNSConfig, PodDNSConfigOption, PodSpec
from emu.api.topology import Dns
from emu.cluster.podfiles import hostname, hosts, resolv_conf
from emu.errors import InputError


def spec(**fields: object) -> PodSpec:
    return PodSpec(containers=(container(),), **fields)


def test_cluster_first_is_what_the_container_runtime_writes() -> None:
    assert resolv_conf(spec(), "default", topology()) == (
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    )


def test_default_is_the_nodes_own_file() -> None:
    upstream = topology(dns=Dns(upstream="192.168.100.53"))
    assert resolv_conf(spec(dns_policy="Default"), "default", upstream) == "nameserver 192.168.100.53\n"
    assert resolv_conf(spec(dns_policy="Default"), "default", topology()) == ""


def test_none_takes_dns_config_alone() -> None:
    config = PodDNSConfig(nameservers=("1.1.1.1",), searches=("a.test",), options=(PodDNSConfigOption(name="debug"),))
    wanted = "search a.test\nnameserver 1.1.1.1\noptions debug\n"
    assert resolv_conf(spec(dns_policy="None", dns_config=config), "default", topology()) == wanted


def test_none_without_a_nameserver_is_refused() -> None:
    with pytest.raises(InputError, match=r"Pod default/a: spec.dnsPolicy is None: spec.dnsConfig.nameservers"):
        cluster(pod("a", dns_policy="None"))


def test_dns_config_is_merged_over_the_policy() -> None:
    config = PodDNSConfig(
        nameservers=("10.96.0.10", "1.1.1.1", "2.2.2.2", "3.3.3.3"),
        searches=("cluster.local", "a.test"),
        options=(PodDNSConfigOption(name="ndots", value="2"),),
    )
    assert resolv_conf(spec(dns_config=config), "x", topology()) == (
        "search x.svc.cluster.local svc.cluster.local cluster.local a.test\n"
        "nameserver 10.96.0.10\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:2\n"
    )


def test_the_search_list_is_cut_where_kubelet_cuts_it() -> None:
    config = PodDNSConfig(searches=tuple(f"d{n}.test" for n in range(40)))
    first, *_ = resolv_conf(spec(dns_config=config), "default", topology()).splitlines()
    assert len(first.split()) == 1 + 32


def test_hosts_names_the_pod_and_its_aliases() -> None:
    aliased = spec(host_aliases=(HostAlias(ip="1.2.3.4", hostnames=("one", "two")),))
    text = hosts("web-0", "default", aliased, ["10.244.1.2"], "cluster.local")
    assert text == (
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        "10.244.1.2\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tone\ttwo\n"
    )


def test_a_subdomain_gives_a_full_name() -> None:
    text = hosts("p", "default", spec(hostname="db", subdomain="dbs"), ["10.244.1.2"], "cluster.local")
    assert text.endswith("10.244.1.2\tdb.dbs.default.svc.cluster.local\tdb\n")


def test_a_long_pod_name_is_cut_to_a_hostname() -> None:
    assert hostname("a" * 62 + "-bcd", spec()) == "a" * 62
