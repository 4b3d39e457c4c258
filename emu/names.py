"""Every name that is generated: interfaces (15 bytes at most), namespaces, MACs, Kubernetes suffixes, chain names."""

from __future__ import annotations

import base64
import hashlib
from ipaddress import IPv4Address

FABRIC_NETNS = "fabric"
POD_ETH = "eth0"
UPLINK = "eth0"
VPC, INTERNET = "vpc", "internet"  # netns of a fabric of that kind

# k8s.io/apimachinery/pkg/util/rand: no vowels, no 0, 1, 3, and nothing that looks like another character.
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def digest(*parts: object) -> bytes:
    """A stable 32-byte digest of the parts: same input, same lab."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def suffix(length: int, *parts: object) -> str:
    """A Kubernetes-like random suffix, decided by `parts`."""
    return "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in digest(*parts)[:length])


def uid(*parts: object) -> str:
    """A version 4 UUID decided by `parts`."""
    raw = bytearray(digest("uid", *parts)[:16])
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def mac(*parts: object) -> str:
    """A locally administered unicast MAC: the first byte is (b & 0xfe) | 0x02, as Flannel and the kernel make them."""
    raw = bytearray(digest("mac", *parts)[:6])
    raw[0] = (raw[0] & 0xFE) | 0x02
    return ":".join(f"{byte:02x}" for byte in raw)


def uplink_mac(seed: int, owner: str, dev: str) -> str:
    """Of a Node's or router's interface on the Node network."""
    return mac("uplink", seed, *((owner,) if dev == UPLINK else (owner, dev)))


def pod_netns(namespace: str, name: str) -> str:
    """The netns of a Pod. A `.` parts the two: neither may be confused with another Pod's (a namespace has no dots)."""
    return f"{namespace}.{name}"


def host_veth(seed: int, namespace: str, pod: str) -> str:
    """The Node's end of a Pod's link, as the bridge CNI plugin names it: `veth` and 8 hex digits."""
    return f"veth{digest('veth', seed, namespace, pod).hex()[:8]}"


def docker_veth(seed: int, namespace: str, pod: str) -> str:
    """The host's end of a container's link: `veth` and 7 hex digits, which Docker draws."""
    return f"veth{digest('docker', seed, namespace, pod).hex()[:7]}"


def docker_mac(address: IPv4Address) -> str:
    """02:42 and the address, as Docker made a container's MAC before 28."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *address.packed))


def tap(seed: int, namespace: str, pod: str) -> str:
    """The switch's end of a virtual machine's link, as OpenStack names it: `tap` and 11 hex digits of the port's id."""
    return f"tap{digest('tap', seed, namespace, pod).hex()[:11]}"


def vm_mac(seed: int, namespace: str, pod: str) -> str:
    """As libvirt draws one: QEMU's 52:54:00 and three bytes."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, 0x00, *digest("vm", seed, namespace, pod)[:3]))


def swarm_id(seed: int, *parts: object) -> str:
    """As Swarm draws one for a network, a service, a task: 25 characters of base 36."""
    number, text = int.from_bytes(digest("swarm", seed, *parts)[:17]), ""
    for _ in range(25):
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    return text


def network_netns(node: str, network: str) -> str:
    """The netns of an overlay network on a Node, `1-` and ten characters of its id there. No Node, Pod or namespace has
    a `_` in its name."""
    return f"{node}_1-{network[:10]}"


def balancer_netns(node: str, network: str) -> str:
    """The netns of an overlay network's load balancer on a Node, `lb_` and nine characters of its id there."""
    return f"{node}_lb_{network[:9]}"


def ingress_netns(node: str) -> str:
    """The netns of the ingress network's load balancer on a Node, `ingress_sbox` there."""
    return f"{node}_ingress_sbox"


def calico_veth(namespace: str, pod: str) -> str:
    """The Node's end of a Pod's link, as Calico's plugin names it: `cali` and 11 hex digits of SHA-1(`namespace.pod`).
    Source: projectcalico/calico libcalico-go/lib/backend/k8s/conversion, VethNameForWorkload."""
    return f"cali{hashlib.sha1(f'{namespace}.{pod}'.encode(), usedforsecurity=False).hexdigest()[:11]}"


def aws_veth(namespace: str, pod: str) -> str:
    """The Node's end of a Pod's link, as the AWS VPC CNI names it: `eni` and the same 11 hex digits.
    Source: aws/amazon-vpc-cni-k8s pkg/networkutils, GeneratePodHostVethName."""
    return f"eni{calico_veth(namespace, pod).removeprefix('cali')}"


def cilium_veth(seed: int, namespace: str, pod: str) -> str:
    """The Node's end of a Pod's link, as Cilium names it: `lxc` and 12 hex digits of a SHA-256, of an id that it draws.
    Source: cilium/cilium pkg/datapath/connector, Endpoint2IfName."""
    return f"lxc{digest('cilium', seed, namespace, pod).hex()[:12]}"


def vxlan_calico_mac(node: str, family: int) -> str:
    """The MAC of a Node's vxlan.calico: 66 and the first five bytes of SHA-1(node name).
    Source: projectcalico/calico felix/calc/vxlan_resolver.go, vtepMACForHost."""
    raw = hashlib.sha1(f"{node}{'-v6' if family == 6 else ''}".encode(), usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in (0x66, *raw[:5]))


def container_id(uid: str) -> str:
    """Of a Pod's sandbox, as containerd makes them: 64 hex digits. Here they follow from the Pod's uid."""
    return digest("sandbox", uid).hex()


def switch_port(seed: int, switch: str, node: str) -> str:
    """The switch's end of a Node's uplink. The Node's name if it fits, else a digest."""
    plain = f"{switch}-{node}"
    return plain if len(plain) <= 15 else f"p{digest('port', seed, switch, node).hex()[:10]}"


def vpc_port(seed: int, node: str, dev: str) -> str:
    """The VPC's end of a Node's uplink: `node1-eth1` if it fits, else a digest."""
    plain = f"{node}-{dev}"
    return plain if len(plain) <= 15 else f"p{digest('vpc', seed, node, dev).hex()[:10]}"


def kube_chain(prefix: str, service_port: str, protocol: str, endpoint: str = "") -> str:
    """`KUBE-SVC-…`: prefix and the first 16 base32 characters of SHA-256(name + protocol + endpoint).
    Source: kubernetes pkg/proxy/iptables/proxier.go, portProtoHash and servicePortEndpointChainName."""
    raw = hashlib.sha256(f"{service_port}{protocol.lower()}{endpoint}".encode()).digest()
    return prefix + base64.b32encode(raw).decode()[:16]
