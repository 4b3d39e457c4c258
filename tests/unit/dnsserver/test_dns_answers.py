"""What CoreDNS does beyond its published tables."""

from dataclasses import replace

from emu.dnsserver.answers import answer
from emu.dnsserver.directory import reverse_zones
from emu.plan.dns import DnsEndpoint, DnsPort, DnsService, DnsZone

DNS_UDP = DnsPort(name="dns", protocol="UDP", port=53)
HTTP = DnsPort(name="http", protocol="TCP", port=80)
KUBE_DNS = DnsService(
    namespace="kube-system",
    name="kube-dns",
    cluster_ips=("10.96.0.10",),
    ports=(DNS_UDP,),
    endpoints=(DnsEndpoint(address="10.244.1.2", ports=(DNS_UDP,)), DnsEndpoint(address="10.244.2.2")),
)
DUAL = DnsService(namespace="default", name="dual", cluster_ips=("10.96.0.20", "fd00:96::20"), ports=(HTTP,))
LOOP = DnsService(namespace="default", name="loop", external_name="back.default.svc.cluster.local")
BACK = DnsService(namespace="default", name="back", external_name="loop.default.svc.cluster.local")
ALIAS = DnsService(namespace="default", name="alias", external_name="dual.default.svc.cluster.local")
DANGLING = DnsService(namespace="default", name="dangling", external_name="gone.default.svc.cluster.local")
ZONE = DnsZone(
    namespaces=("default", "kube-system"),
    services=(KUBE_DNS, DUAL, LOOP, BACK, ALIAS, DANGLING),
    cluster_networks=("10.96.0.0/12", "10.244.0.0/16"),
    pods=(("default", "10.244.1.5"),),
    serial=7,
)


def data(records):
    return [record.data for record in records]


def test_a_transfer_is_refused():
    for qtype in ("AXFR", "IXFR"):
        got = answer(ZONE, "cluster.local.", qtype)
        assert (got.rcode, got.outside, got.authoritative) == ("REFUSED", False, False)


def test_a_name_of_others_is_outside():
    assert answer(ZONE, "example.com.", "A").outside
    assert answer(ZONE, "notcluster.local.", "A").outside


def test_the_apex_names_the_service_of_the_pod_that_was_asked():
    got = answer(ZONE, "cluster.local.", "NS", "10.244.1.2")
    assert data(got.answer) == ["kube-dns.kube-system.svc.cluster.local."]
    assert [(each.name, each.data) for each in got.additional] == [
        ("kube-dns.kube-system.svc.cluster.local.", "10.96.0.10")
    ]
    assert data(answer(ZONE, "ns.dns.cluster.local.", "A", "10.244.1.2").answer) == ["10.96.0.10"]


def test_the_apex_names_the_pod_itself_when_no_service_has_it():
    got = answer(ZONE, "cluster.local.", "NS", "10.244.9.9")
    assert (data(got.answer), data(got.additional)) == (["ns.dns.cluster.local."], ["10.244.9.9"])


def test_srv_weights_of_a_dual_stack_service_are_halved():
    got = answer(ZONE, "_http._tcp.dual.default.svc.cluster.local.", "SRV")
    assert data(got.answer) == ["0 50 80 dual.default.svc.cluster.local."]
    assert data(got.additional) == ["10.96.0.20", "fd00:96::20"]


def test_a_port_that_is_not_there_has_no_name():
    assert answer(ZONE, "_https._tcp.dual.default.svc.cluster.local.", "SRV").rcode == "NXDOMAIN"
    assert answer(ZONE, "_http._udp.dual.default.svc.cluster.local.", "SRV").rcode == "NXDOMAIN"


def test_an_endpoint_of_a_clusterip_service_has_a_name_and_the_way_back():
    name = "10-244-1-2.kube-dns.kube-system.svc.cluster.local."
    assert data(answer(ZONE, name, "A").answer) == ["10.244.1.2"]
    assert data(answer(ZONE, "2.1.244.10.in-addr.arpa.", "PTR").answer) == [name]


def test_the_question_keeps_its_case():
    got = answer(ZONE, "Dual.Default.SVC.Cluster.Local.", "SRV")
    assert got.answer[0].name == "Dual.Default.SVC.Cluster.Local."
    assert got.answer[0].data.endswith("dual.default.svc.Cluster.Local.")


def test_an_alias_inside_the_zone_is_followed():
    got = answer(ZONE, "alias.default.svc.cluster.local.", "AAAA")
    assert [(each.type, each.data) for each in got.answer] == [
        ("CNAME", "dual.default.svc.cluster.local."),
        ("AAAA", "fd00:96::20"),
    ]


def test_an_alias_that_leads_nowhere_is_no_data():
    for name in ("loop", "dangling"):
        got = answer(ZONE, f"{name}.default.svc.cluster.local.", "A")
        assert (got.rcode, got.answer, got.authority[0].type) == ("NOERROR", (), "SOA")


def test_the_soa_is_short_lived_and_carries_the_negative_ttl():
    soa = answer(replace(ZONE, ttl=3600), "nothing.default.svc.cluster.local.", "A").authority[0]
    assert soa.ttl == 300
    assert soa.data == "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 3600"


def test_unknown_types_tell_a_name_from_none():
    assert answer(ZONE, "dual.default.svc.cluster.local.", "HTTPS").rcode == "NOERROR"
    assert answer(ZONE, "gone.default.svc.cluster.local.", "HTTPS").rcode == "NXDOMAIN"


def test_pod_names():
    verified = replace(ZONE, pods_mode="verified")
    assert data(answer(verified, "10-244-1-5.default.pod.cluster.local.", "A").answer) == ["10.244.1.5"]
    assert answer(verified, "10-244-1-6.default.pod.cluster.local.", "A").rcode == "NXDOMAIN"
    assert data(answer(ZONE, "fd00--5.default.pod.cluster.local.", "AAAA").answer) == ["fd00::5"]
    assert answer(ZONE, "010-0-0-1.default.pod.cluster.local.", "A").rcode == "NXDOMAIN"


def test_reverse_zones_are_cut_at_whole_labels():
    assert list(reverse_zones("10.244.0.0/16")) == ["244.10.in-addr.arpa."]
    zones = list(reverse_zones("10.96.0.0/12"))
    assert (len(zones), zones[0], zones[-1]) == (16, "96.10.in-addr.arpa.", "111.10.in-addr.arpa.")
    assert list(reverse_zones("fd00::/8")) == ["d.f.ip6.arpa."]


def test_an_unknown_address_ends_in_the_clusters_own_ranges_only():
    assert answer(ZONE, "9.9.244.10.in-addr.arpa.", "PTR").rcode == "NXDOMAIN"
    assert answer(ZONE, "8.8.8.8.in-addr.arpa.", "PTR").outside


def test_reverse_names_fall_through_when_no_range_is_its_own():
    kubeadm = replace(ZONE, cluster_networks=())
    assert answer(kubeadm, "9.9.244.10.in-addr.arpa.", "PTR").outside
    found = answer(kubeadm, "10.0.96.10.in-addr.arpa.", "PTR")
    assert data(found.answer) == ["kube-dns.kube-system.svc.cluster.local."]
