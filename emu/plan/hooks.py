"""Who stands before whom in the kernel's own chains. Planners give hooks, never positions."""

from __future__ import annotations

#: (owner, why it stands there), first to last. Within one owner hooks keep the order the planner gives.
ORDER: tuple[tuple[str, str], ...] = (
    ("fabric", "alone in the fabric's own namespace"),
    (
        "cni-plugins",
        "what a CNI plugin has inserted before all others, as firewall and portmap do with some of their jumps; they "
        "are called for each new Pod, when all others have long been there",
    ),
    (
        "calico",
        "Felix INSERTS its jumps (ChainInsertMode Insert) and puts them back whenever something is above them: a "
        "packet must meet the policies before anybody accepts it",
    ),
    (
        "cilium",
        "cilium-agent PREPENDS its jumps (prepend-iptables-chains): what it accepts for its Pods and its proxies is to "
        "be dropped by nobody else",
    ),
    (
        "kube-proxy",
        "kube-proxy PREPENDS its jumps whenever it finds them missing, so they end up above what CNIs append",
    ),
    ("kubelet", "kubelet shares kube-proxy's KUBE-FIREWALL jumps and adds only chains that nothing jumps to"),
    (
        "aws-node",
        "aws-node APPENDS what it finds missing: what KUBE-SERVICES has translated is for a Pod, and needs no mark; in "
        "POSTROUTING the source is changed behind KUBE-POSTROUTING, for which a packet is marked or not",
    ),
    (
        "docker-ingress",
        "dockerd INSERTS its jumps to DOCKER-INGRESS, and the MASQUERADE beside them, when a Swarm's service publishes "
        "the first port: they stand before what it put there when it started",
    ),
    (
        "docker",
        "dockerd puts its jumps first when it starts; a kube-proxy that starts later puts its own before them",
    ),
    (
        "flannel",
        "flanneld APPENDS: its masquerade must see what KUBE-POSTROUTING left, its ACCEPT what KUBE-FORWARD left",
    ),
    (
        "calico-appended",
        "Felix APPENDS to FORWARD the ACCEPT of what the policies let through: who stands before may still drop it",
    ),
    ("cni-plugins-appended", "and what a CNI plugin has appended behind them"),
)

POSITION: dict[str, int] = {owner: position for position, (owner, _) in enumerate(ORDER)}
