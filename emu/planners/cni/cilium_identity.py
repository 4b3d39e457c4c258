"""Cilium's numbers: the security identity of a set of labels, and the id of an endpoint.

Pods with the same labels have the same identity. Cilium draws both numbers; here they are decided by what they are for,
and who comes later by name gives way where two would have the same.

Source: cilium/cilium pkg/identity (numericidentity.go, the range), pkg/labelsfilter (labels that are left out)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emu import names
from emu.cluster.model import Pod
from emu.memo import by_identity

HOST, WORLD, REMOTE_NODE = 1, 2, 6
FIRST, LAST = 256, 65535  # of a cluster's own
LAST_ENDPOINT = 4095
#: What changes from one Pod of a controller to the next.
LEFT_OUT = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    }
)


def _labels(pod: Pod) -> tuple[str, ...]:
    own = {key: value for key, value in pod.labels.items() if key not in LEFT_OUT}
    named = {
        "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": pod.namespace,
        "io.cilium.k8s.policy.cluster": "default",
        "io.cilium.k8s.policy.serviceaccount": "default",
        "io.kubernetes.pod.namespace": pod.namespace,
    }
    return tuple(sorted(f"k8s:{key}={value}" for key, value in {**own, **named}.items()))


#: As `cilium identity get` lists them.
labels = by_identity(_labels, 1 << 15)


def identities(pods: Iterable[Pod]) -> dict[tuple[str, ...], int]:
    """By labels."""
    return dict(drawn({labels(pod) for pod in pods}, FIRST, LAST))


def endpoints(pods: Iterable[Pod]) -> dict[str, int]:
    """Of one Node, by the Pod's key."""
    return {key[0]: number for key, number in drawn({(pod.key,) for pod in pods}, 1, LAST_ENDPOINT)}


def drawn(wanted: Iterable[tuple[str, ...]], first: int, last: int) -> Iterator[tuple[tuple[str, ...], int]]:
    taken: set[int] = set()
    span = last - first + 1
    for each in sorted(wanted):
        number = int.from_bytes(names.digest("cilium", first, *each)[:8], "big") % span
        while number in taken and len(taken) < span:
            number = (number + 1) % span
        taken.add(number)
        yield each, first + number


def of(pod: Pod, known: Mapping[tuple[str, ...], int]) -> int:
    return known[labels(pod)]
