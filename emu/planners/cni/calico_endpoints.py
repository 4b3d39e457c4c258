"""Felix's chains for the Pods of a Node, in a cluster without policies: cali-fw-… for what a Pod sends, cali-tw-… for
what is sent to it, the chains that lead there, and the profiles that decide.

The profile of a namespace (kns.…) accepts everything; that is what leaves Pods open. The one of a service account
(ksa.…) has no rules; every Pod's is taken for `default` here, whatever its serviceAccountName.

Source: projectcalico/calico felix/rules (dispatch.go, endpoints.go, policy.go)."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import commonprefix  # of any strings, whatever it is called

from emu import names
from emu.memo import Memo
from emu.netfilter.model import Chain, Table
from emu.plan.model import RulesetPart
from emu.planners.cni.calico_chains import ACCEPT, ACCEPTED, INSERTED, VXLAN
from emu.planners.cni.calico_felix import chain, commented, named

ACCOUNT = "default"
UNKNOWN = commented("Unknown interface", "--jump DROP")
#: For both directions: the chains' prefixes, the profiles', the option that names the interface, Felix's word.
FROM = ("cali-fw-", "cali-pro-", "--in-interface", "egress")
TO = ("cali-tw-", "cali-pri-", "--out-interface", "ingress")
#: A Pod that wraps packets itself could get around what is asked of them.
WRAPPED = (
    commented("Drop VXLAN encapped packets originating in workloads", f"{VXLAN} --jump DROP"),
    commented("Drop IPinIP encapped packets originating in workloads", "-p 4 --jump DROP"),
)

Pods = tuple[tuple[str, str], ...]  # namespace, name


def _make_endpoints(family: int, pods: Pods) -> RulesetPart:
    """The Pods of one Node."""
    devices = sorted(names.calico_veth(*pod) for pod in pods)
    chains = (
        *dispatch("cali-from-wl-dispatch", FROM, devices),
        *dispatch("cali-to-wl-dispatch", TO, devices),
        *(each for pod in pods for each in _endpoint(pod, *pod)),
        *(
            each
            for namespace in sorted({namespace for namespace, _ in pods})
            for each in profiles(namespace, namespace)
        ),
    )
    return RulesetPart(owner=INSERTED, family=family, tables=(Table(family, "filter", chains),))


endpoints: Memo[RulesetPart] = Memo(_make_endpoints)


def dispatch(name: str, way: tuple[str, ...], devices: list[str]) -> Iterator[Chain]:
    """A shallow tree: devices whose names go on with the same character, behind what all have in common, have a chain
    of their own."""
    prefix, _, option, _ = way
    common = len(commonprefix(devices))  # noqa: RUF071
    groups: dict[str, list[str]] = {}
    for device in devices:
        groups.setdefault(device[: common + 1], []).append(device)
    root = []
    for start, members in groups.items():
        leads = [f"{option} {device} --goto {prefix}{device}" for device in members]
        if len(members) == 1:
            root += leads
        else:
            child = f"{name}-{start[common:]}"
            root.append(f"{option} {start}+ --goto {child}")
            yield chain(child, [*leads, UNKNOWN])
    yield chain(name, [*root, UNKNOWN])


def _make_endpoint(namespace: str, pod: str) -> tuple[Chain, Chain]:
    device = names.calico_veth(namespace, pod)
    return (
        chain(f"cali-tw-{device}", decisions(namespace, TO)),
        chain(f"cali-fw-{device}", decisions(namespace, FROM, WRAPPED)),
    )


_endpoint: Memo[tuple[Chain, Chain]] = Memo(_make_endpoint, size=1 << 15)


def decisions(namespace: str, way: tuple[str, ...], wrapped: tuple[str, ...] = ()) -> Iterator[str]:
    yield "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT"
    yield "-m conntrack --ctstate INVALID --jump DROP"
    yield "--jump MARK --set-mark 0/0x30000"
    yield from wrapped
    for profile in _names(namespace):
        yield f"--jump {named(way[1], profile)}"
        yield commented("Return if profile accepted", f"{ACCEPTED} --jump RETURN")
    yield commented("Drop if no profiles matched", "--jump DROP")


def _names(namespace: str) -> tuple[str, str]:
    return f"kns.{namespace}", f"ksa.{namespace}.{ACCOUNT}"


def _make_profiles(namespace: str) -> tuple[Chain, ...]:
    accepting, empty = _names(namespace)
    accept = f"--jump MARK --set-mark {ACCEPT}/{ACCEPT}"
    return tuple(
        chain(named(prefix, profile), [commented(f"Profile {profile} {word}", does)])
        for profile, does in ((accepting, accept), (empty, ""))
        for _, prefix, _, word in (TO, FROM)
    )


profiles: Memo[tuple[Chain, ...]] = Memo(_make_profiles)
