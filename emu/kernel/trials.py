"""What `features.probe` tries and looks for: tools, trials, modules. Each trial runs once, in a lab that ends after."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emu.errors import MissingFeature
from emu.kernel import ipvs, process, programs, subnets

ETH_P_ALL = 3


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    needed: bool
    package: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    option: str  # of the kernel's configuration
    purpose: str


@dataclass(frozen=True, slots=True)
class Trial:
    """`run` returns a detail worth telling, or raises."""

    name: str
    needed: bool
    run: Callable[[], str]
    remedy: str = ""


TOOLS = (
    Tool("ip", True, "iproute2", "links at the prompt, kernel answers in a trace"),
    Tool("iptables-nft-restore", True, "iptables", "the rules of kube-proxy and Flannel"),
    Tool("iptables-legacy-restore", False, "iptables", "topologies with `iptables: legacy`"),
    Tool("ipset", False, "ipset", "Calico's rules"),
    Tool("nft", True, "nftables", "following a packet through the rules, a VPC's subnets"),
    Tool("conntrack", True, "conntrack", "entries of UDP endpoints that are gone"),
    Tool("nsenter", True, "util-linux", "the prompt"),
    Tool("setsid", True, "util-linux", "terminals"),
    Tool("ping", True, "iputils-ping", "emu verify"),
    Tool("bird", False, "bird2", "BGP between Nodes: cni calico-bgp"),
    Tool("mnexec", False, "mininet", "Mininet's own tools"),
    Tool("nginx", False, "nginx", "a real web server in Pods; else a small one of ours"),
    Tool("curl", False, "curl", "requests from Pods"),
    Tool("nslookup", False, "dnsutils", "DNS from Pods"),
    Tool("tcpdump", False, "tcpdump", "captures inside Pods"),
    Tool("tshark", False, "tshark", "captures as text"),
    Tool("wireshark", False, "wireshark", "captures on screen"),
)

MODULES = (
    Module("ipip", "NET_IPIP", "Calico IPIP (then by eBPF)"),
    Module("ip_vs", "IP_VS", "virtual addresses of Docker's Swarm, kube-proxy in ipvs mode"),
    Module("dummy", "DUMMY", "kube-ipvs0, nodelocaldns"),
    Module("sch_netem", "NET_SCH_NETEM", "delay and loss on links"),
    Module("8021q", "VLAN_8021Q", "VLAN fabrics"),
    Module("geneve", "GENEVE", "Geneve overlays"),
    Module("wireguard", "WIREGUARD", "encrypted overlays"),
)

# Matches and targets that the planned rules and a trace use: name, modules, table, a rule that needs it.
RULES = (
    ("comment", "xt_comment", "filter", "-A FORWARD -m comment --comment x -j ACCEPT"),
    ("conntrack", "xt_conntrack", "filter", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    ("addrtype", "xt_addrtype", "filter", "-A FORWARD -m addrtype --dst-type LOCAL -j ACCEPT"),
    ("mark", "xt_mark", "filter", "-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT"),
    ("REJECT", "ipt_REJECT", "filter", "-A FORWARD -p tcp -j REJECT --reject-with icmp-port-unreachable"),
    ("statistic", "xt_statistic", "nat", "-A PREROUTING -m statistic --mode random --probability 0.5 -j ACCEPT"),
    ("recent", "xt_recent", "nat", "-A PREROUTING -m recent --name x --rcheck --seconds 10800 --reap -j ACCEPT"),
    ("MARK", "xt_mark", "nat", "-A PREROUTING -j MARK --set-xmark 0x4000/0x4000"),
    ("DNAT", "xt_nat", "nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.2:80"),
    ("MASQUERADE", "xt_MASQUERADE", "nat", "-A POSTROUTING -j MASQUERADE --random-fully"),
    ("TRACE", "xt_TRACE nf_log_syslog", "raw", "-A PREROUTING -j TRACE"),
)
#: Those of Calico alone.
SET = "create trial hash:net family inet"
CALICO_RULES = (
    ("set", "ip_set_hash_net xt_set", "filter", "-A FORWARD -m set --match-set trial src -j ACCEPT"),
    ("multiport", "xt_multiport", "filter", "-A FORWARD -p udp -m multiport --dports 4789 -j ACCEPT"),
    ("rpfilter", "ipt_rpfilter", "raw", "-A PREROUTING -m rpfilter --invert --validmark -j DROP"),
    ("NOTRACK", "xt_CT", "raw", "-A PREROUTING -p udp --dport 4789 -j NOTRACK"),
)
#: Those of the AWS VPC CNI and of a VPC alone.
AWS_RULES = (
    ("CONNMARK", "xt_connmark", "mangle", "-A PREROUTING -j CONNMARK --set-xmark 0x80/0x80"),
    ("TTL", "xt_HL", "mangle", "-A PREROUTING -j TTL --ttl-inc 1"),
)
#: Those of Docker's Swarm alone.
SWARM_RULES = (("REDIRECT", "xt_REDIRECT", "nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 80"),)
#: Those of Cilium alone.
CILIUM_RULES = (
    ("socket", "xt_socket", "mangle", "-A PREROUTING -m socket --transparent -j ACCEPT"),
    ("CT", "xt_CT", "raw", "-A PREROUTING -m mark --mark 0x200/0xf00 -j CT --notrack"),
)
TRACE = "table inet t { chain c { type filter hook prerouting priority raw; meta nftrace set 1; }; }"


def _link(name: str, *words: str) -> Callable[[], str]:
    def run() -> str:
        process.run(["ip", "link", "add", name, *words])
        process.run(["ip", "link", "delete", name])
        return ""

    return run


def _rule(variant: str, family: str, table: str, rule: str) -> Callable[[], str]:
    def run() -> str:
        process.run([f"{family}-{variant}-restore"], stdin=f"*{table}\n{rule}\nCOMMIT\n")
        return ""

    return run


def _calico_rules() -> Iterator[Trial]:
    for used, modules, table, rule in CALICO_RULES:
        yield Trial(f"iptables-nft: {used}", False, _calico_rule(table, rule), f"modprobe -a {modules}")


def _other_rules() -> Iterator[Trial]:
    for used, modules, table, rule in (*AWS_RULES, *SWARM_RULES, *CILIUM_RULES):
        yield Trial(f"iptables-nft: {used}", False, _rule("nft", "iptables", table, rule), f"modprobe -a {modules}")


def _calico_rule(table: str, rule: str) -> Callable[[], str]:
    def run() -> str:
        process.run(["ipset", "-exist", "restore"], stdin=f"{SET}\n")
        return _rule("nft", "iptables", table, rule)()

    return run


def _rules() -> Iterator[Trial]:
    for used, modules, table, rule in RULES:
        for variant, table_module in (("nft", "nft_compat"), ("legacy", f"iptable_{table}")):
            trial = _rule(variant, "iptables", table, rule)
            remedy = f"modprobe -a {table_module} {modules}"
            yield Trial(f"iptables-{variant}: {used}", variant == "nft", trial, remedy)
    for variant, table_module in (("nft", "nft_compat"), ("legacy", "ip6table_nat")):
        trial = _rule(variant, "ip6tables", "nat", "-A POSTROUTING -j MASQUERADE --random-fully")
        yield Trial(f"ip6tables-{variant}: MASQUERADE", False, trial, f"modprobe -a {table_module} xt_MASQUERADE")


def _br_netfilter() -> str:
    if not os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
        raise MissingFeature("netfilter on bridges", module="br_netfilter")
    return ""


def _conntrack() -> str:
    process.run(["conntrack", "-L"])
    return ""


def _trace() -> str:
    process.run(["nft", "-f", "-"], stdin=TRACE)
    return ""


def _packet_socket() -> str:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)).close()
    return ""


def _bpf() -> str:
    if not os.path.ismount("/run/bpf"):
        raise MissingFeature("eBPF file system for this user")
    return ""


TRIALS = (
    Trial("veth links", True, _link("trial", "type", "veth", "peer", "name", "peer"), "modprobe veth"),
    Trial("bridges", True, _link("trial", "type", "bridge"), "modprobe bridge"),
    Trial("netfilter on bridges", True, _br_netfilter, "modprobe br_netfilter"),
    Trial(
        "VXLAN links",
        True,
        _link("trial", "type", "vxlan", "id", "1", "local", "127.0.0.1", "dstport", "8472", "nolearning"),
        "modprobe vxlan",
    ),
    *_rules(),
    *_calico_rules(),
    *_other_rules(),
    Trial("a VPC's subnets (fabric.kind: vpc)", False, subnets.tried, subnets.REMEDY),
    Trial("connection tracking entries", True, _conntrack, "modprobe nf_conntrack_netlink"),
    Trial("tracing through the rules", True, _trace, "modprobe nf_tables"),
    Trial("packet sockets", True, _packet_socket, "modprobe af_packet"),
    Trial("eBPF", False, _bpf, "run as root"),
    Trial("eBPF datapath (cni: cilium)", False, programs.datapath, "run as root"),
    Trial("IPIP tunnels", False, programs.ipip, "modprobe ipip, or run as root"),
    Trial(
        "IPVS (cni: docker-swarm, endpoint_mode: vip)",
        False,
        ipvs.tried,
        "modprobe -a ip_vs ip_vs_rr xt_ipvs, and run as root; or endpoint_mode: dnsrr and no published ports",
    ),
)
