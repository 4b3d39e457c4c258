"""How many network interfaces (ENIs) an instance type takes and how many IPv4 addresses each of them, and the options
of the AWS VPC CNI that say which type a Node is and how its addresses are kept.

Source of the limits: aws/amazon-vpc-cni-k8s pkg/vpc/vpc_ip_resource_limit.go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from emu.api.topology import Topology
from emu.api.wrong import Wrong, did_you_mean, shown

LABEL = "node.kubernetes.io/instance-type"
HOST_NETWORK = 2  # aws-node and kube-proxy count as Pods for kubelet, and have the Node's address
PREFIX_ADDRESSES = 16  # a /28
MOST_WITH_PREFIXES = 110  # what AWS recommends for small types; source: its max-pods-calculator.sh

_FAMILIES = ("c5", "c6g", "c6i", "c7g", "c7i", "m5", "m6g", "m6i", "m7g", "m7i", "r5", "r6g", "r6i")
#: (ENIs, IPv4 addresses of each): the types.
_LIMITS: dict[tuple[int, int], str] = {
    (2, 2): "t2.nano t2.micro t3.nano t3.micro t3a.nano t3a.micro t4g.nano t4g.micro",
    (2, 4): "t3a.small c6g.medium c7g.medium m6g.medium m7g.medium r6g.medium",
    (3, 4): "t2.small t3.small t4g.small",
    (3, 6): "t2.medium t3.medium t3a.medium t4g.medium",
    (3, 10): " ".join(f"{family}.large" for family in _FAMILIES),
    (3, 12): "t2.large t3.large t3a.large t4g.large",
    (3, 15): "t2.xlarge t2.2xlarge",
    (4, 15): " ".join(f"{each}.{size}" for each in ("t3", "t3a", "t4g", *_FAMILIES) for size in ("xlarge", "2xlarge")),
    (8, 30): " ".join(f"{family}.4xlarge" for family in _FAMILIES),
    (15, 50): " ".join(f"{family}.metal" for family in ("c5", "c6g", "c6i", "c7g", "m5", "m6g", "m6i", "m7g", "r5")),
}
TYPES: dict[str, tuple[int, int]] = {name: limits for limits, names in _LIMITS.items() for name in names.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Those of `cni.options` that concern addresses; the rules' are the planner's matter."""

    instance_type: str = "t3.medium"
    prefix_delegation: bool = False
    warm_eni_target: int = 1
    warm_prefix_target: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A Node's type and what it holds."""

    type: str
    enis: int
    addresses: int  # of each ENI, its own first one among them
    prefixes: bool  # in the places of the others are /28 blocks

    @property
    def of_one_eni(self) -> int:
        """Pods."""
        return (self.addresses - 1) * (PREFIX_ADDRESSES if self.prefixes else 1)

    @property
    def pods(self) -> int:
        """How many have an address of the VPC; kubelet's own limit counts `HOST_NETWORK` more."""
        most = self.enis * self.of_one_eni
        return min(most, MOST_WITH_PREFIXES - HOST_NETWORK) if self.prefixes else most

    def __str__(self) -> str:
        blocks = f" x {PREFIX_ADDRESSES}" if self.prefixes else ""
        most = self.enis * self.of_one_eni
        capped = f", at most {MOST_WITH_PREFIXES} - {HOST_NETWORK}" if most != self.pods else ""
        return f"{self.type}: {self.enis} ENIs x ({self.addresses} addresses - 1){blocks} = {most} Pods{capped}"


def options_of(given: Mapping[str, object]) -> Options:
    """Raises Wrong, at the option. Names that are not of `Options` are somebody else's."""
    made = Options(**{name: value for name, value in given.items() if name in Options.__dataclass_fields__})  # type: ignore[arg-type]
    if made.instance_type not in TYPES:
        raise _unknown(made.instance_type, "cni", "options", "instance_type")
    if not isinstance(made.prefix_delegation, bool):
        raise _wrong("prefix_delegation", made.prefix_delegation, "true or false")
    for name, least in (("warm_eni_target", 0), ("warm_prefix_target", 1)):
        value = getattr(made, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 15:
            raise _wrong(name, value, f"{least}-15")
    return made


def _wrong(name: str, value: object, wanted: str) -> Wrong:
    return Wrong(f"is {shown(value)}, must be {wanted}", "cni", "options", name)


def _unknown(name: object, *path: str | int) -> Wrong:
    near = did_you_mean(str(name), TYPES)
    what = f"is {shown(name)}, which is no instance type known here{'; ' if near else ''}{near}"
    return Wrong(what, *path, hint=f"for example {', '.join(name for name in TYPES if name.startswith('t3.'))}")


def check(topology: Topology) -> None:
    """Raises Wrong: every Node's type is known, and takes prefixes if it shall."""
    options = options_of(topology.cni.options)
    for index, node in enumerate(topology.nodes):
        own = node.labels.get(LABEL, options.instance_type)
        path = ("nodes", index, "labels", LABEL) if LABEL in node.labels else ("cni", "options", "instance_type")
        if own not in TYPES:
            raise _unknown(own, *path)
        if options.prefix_delegation and own.startswith("t2."):
            raise Wrong(f"is {own}, which takes no prefixes: it is no Nitro instance", *path)


def instance_of(topology: Topology, node: str) -> Instance:
    entry = next(entry for entry in topology.nodes if entry.name == node)
    options = options_of(topology.cni.options)
    return _instance(entry.labels.get(LABEL, options.instance_type), options.prefix_delegation)


@lru_cache(maxsize=256)
def _instance(name: str, prefixes: bool) -> Instance:
    enis, addresses = TYPES[name]
    return Instance(type=name, enis=enis, addresses=addresses, prefixes=prefixes)
