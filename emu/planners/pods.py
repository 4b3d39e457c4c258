"""What a Pod's namespaces need beside its network: files, hostname, containers. The CNI mode makes the network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from emu import names
from emu.cluster.model import Cluster, ContainerPlan, Pod
from emu.cluster.podfiles import resolver
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import File, NetnsKind, NetnsPlan, PodSandbox, Process, Sysctl
from emu.planners.underlay import ipv6_off


def plan(cluster: Cluster) -> Iterator[Fragment]:
    answering = resolver(cluster.topology)
    for pod in (*cluster.pods, *cluster.joining):
        yield _fragment((cluster.name, pod.namespace, pod.name), pod, cluster.families, answering)


@lru_cache(maxsize=4)
def sysctls(families: tuple[int, ...]) -> tuple[Sysctl, ...]:
    """Of every Pod, in every CNI mode. A new netns copies the machine's IPv4 settings, so forwarding may be on: a Pod
    is a host, not a router."""
    return (*ipv6_off(families), Sysctl(key="net.ipv4.ip_forward", value="0"))


def _make(pod: Pod, families: tuple[int, ...], answering: str) -> NetnsPlan:
    return NetnsPlan(
        name=names.pod_netns(pod.namespace, pod.name),
        kind=NetnsKind.POD,
        owner=pod.key,
        sysctls=sysctls(families),
        pod=_sandbox(pod, answering) if pod.addresses else None,  # its containers wait for the network
    )


_fragment: Memo[NetnsPlan] = Memo(_make, size=1 << 15)


def _sandbox(pod: Pod, answering: str) -> PodSandbox:
    return PodSandbox(
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        node=pod.node,
        hostname=pod.hostname,
        addresses=pod.addresses,
        files=tuple(_files(pod)),
        processes=(
            *(_process(each, init=True) for each in pod.init_containers),
            *(_process(each, init=False) for each in pod.containers),
        ),
        restart_policy=pod.restart_policy,
        grace_period_s=pod.grace_period_s,
        resolver=answering,
    )


def _files(pod: Pod) -> Iterator[File]:
    yield File(path="/etc/resolv.conf", text=pod.resolv_conf)
    yield File(path="/etc/hosts", text=pod.hosts)
    yield File(path="/etc/hostname", text=f"{pod.hostname}\n")
    # Only these two: the machine's name services (nscd, resolved, mDNS) must not answer for the cluster's.
    yield File(path="/etc/nsswitch.conf", text="hosts: files dns\n")


def _process(planned: ContainerPlan, *, init: bool) -> Process:
    return Process(container=planned.container, program=planned.program, env=planned.env, init=init)
