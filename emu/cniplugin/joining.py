"""ADD, DEL, CHECK, STATUS and GC of the built-in modes: the IPAM plugin is called, then the planners' plan of the one
Pod is applied in the caller's namespace and the Pod's."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from emu.addressing import IPInterface
from emu.cniplugin import modes
from emu.cniplugin.modes import NODE
from emu.cniplugin.request import BAD_CONFIG, BAD_ENVIRONMENT, IO_FAILURE, Refused, Request
from emu.errors import EmuError, PluginError
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.kernel.cniprotocol import Caller, find
from emu.kernel.netns import Netns
from emu.names import pod_netns
from emu.plan import diff, drift
from emu.plan.model import Address, Changes, Link, NetnsChange, NetnsPlan, Plan, Role

OUR_OWN = 100  # the first code that is a plugin's own
OF_KERNEL, OF_PLAN, NOT_AS_PLANNED = OUR_OWN, OUR_OWN + 1, OUR_OWN + 2
LOCK = "/run/kube-emu-cni.lock"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC


def add(request: Request, environment: Mapping[str, str]) -> dict[str, Any]:
    with _open(request) as kernel:
        ipam = _ipam(request, environment, "ADD")
        try:
            given = _given(request, ipam)
            plan = _plan(request, given)
            if kernel.read(plan.netns[_pod(request)]).link(request.ifname):
                raise Refused(BAD_ENVIRONMENT, f"{request.ifname} is there already in {request.netns}")
            kernel.apply(_lacking(kernel, plan), plan)
        except (Refused, EmuError):
            with suppress(EmuError):  # why ADD has failed is what the runtime must hear
                _ipam(request, environment, "DEL")
            raise
        return _result(request, plan, given, ipam)


def delete(request: Request, environment: Mapping[str, str]) -> None:
    """What is not there is no error, and neither is a Pod's namespace that has gone."""
    _ipam(request, environment, "DEL")
    plan = _plan(request, (ip_interface("192.0.2.2/24"),))  # a link's name does not follow from its addresses
    owner = "/".join(_identity(request))
    whole = plan.netns[NODE]
    removed = tuple(link for link in whole.links if link.owner == owner)
    left = modes.without(whole, owner)
    with _open(request, pod=False) as kernel:
        gone = NetnsChange(name=NODE, old=whole, new=left, removed=removed)
        kernel.apply(Changes(netns=(gone,)), Plan(name=plan.name, seed=plan.seed, netns={NODE: left}))


def check(request: Request, environment: Mapping[str, str]) -> None:
    _ipam(request, environment, "CHECK")
    previous = request.config.get("prevResult")
    if not isinstance(previous, Mapping):
        raise Refused(BAD_CONFIG, "CHECK needs a prevResult")
    with _open(request) as kernel:
        plan = _plan(request, _given(request, previous))
        for name, wanted in plan.netns.items():
            lacks = [each for each in drift.drift(wanted, kernel.read(wanted)) if not each.change.removed]
            if lacks:
                where = request.netns if name != NODE else "the Node's namespace"
                raise Refused(NOT_AS_PLANNED, f"in {where}: {lacks[0].what}", f"{lacks[0].wanted}, got {lacks[0].got}")


def status(request: Request, environment: Mapping[str, str]) -> None:
    """Ready if the plugin that gives addresses is."""
    find(str(request.ipam["type"]), request.paths)
    if request.version == "1.1.0":
        _ipam(request, environment, "STATUS")


def collect(request: Request, environment: Mapping[str, str]) -> None:
    """A link goes with its Pod's namespace; addresses are in the IPAM plugin's books."""
    _ipam(request, environment, "GC")


# ---- pieces


def _ipam(request: Request, environment: Mapping[str, str], command: str) -> dict[str, Any]:
    def run(argv: Any, stdin: str, env: Mapping[str, str]) -> process.Completed:
        return process.run(argv, stdin=stdin, env=env, check=False)

    caller = Caller(run=run, environment=environment)
    return caller.call(
        str(request.ipam["type"]), request.paths, dict(request.config), {"CNI_COMMAND": command}, f"{command}, as IPAM"
    )


def _given(request: Request, result: Mapping[str, Any]) -> tuple[IPInterface, ...]:
    """Raises Refused for what the mode cannot do with."""
    try:
        ips = [(ip_interface(each["address"]), each.get("gateway")) for each in result.get("ips") or ()]
        if request.command == "CHECK" and modes.MODES[request.mode].by_pod:
            return tuple(address for address, _ in ips)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(BAD_CONFIG, "the IPAM plugin's addresses cannot be read", str(error)) from None
    if not ips:
        raise Refused(BAD_CONFIG, "the IPAM plugin has given no address")
    for address, via in ips:
        wanted = modes.gateway(request.mode, address)
        if not modes.MODES[request.mode].by_pod and via and ip_address(via) != wanted:
            raise Refused(BAD_CONFIG, f"the gateway is {via}, must be {wanted}, the first of {address.network}")
    return tuple(address for address, _ in ips)


def _identity(request: Request) -> tuple[str, str]:
    return modes.identity(request.mode, request.network, request.container_id, request.args)


def _pod(request: Request) -> str:
    return pod_netns(*_identity(request))


def _plan(request: Request, given: tuple[IPInterface, ...]) -> Plan:
    try:
        networks = [ip_network(text) for text in request.pod_networks]
    except ValueError as error:
        raise Refused(BAD_CONFIG, f"podNetworks: {error}") from None
    return modes.plan(request.mode, _identity(request), given, networks, request.mtu)


@contextmanager
def _open(request: Request, *, pod: bool = True) -> Iterator[Kernel]:
    """The namespace this is called in, and the Pod's. Runtimes call for several Pods at once, and each would take the
    index of a new link, and the bridge, for itself: one waits for the other. The kernel ends a lock with its holder."""
    lock = _locked()
    kernel = Kernel("cni", granted=())
    try:
        kernel.adopt(Netns(NODE, os.open("/proc/thread-self/ns/net", _FLAGS)))
        if pod:
            try:
                kernel.adopt(Netns(_pod(request), os.open(request.netns, _FLAGS)))
            except OSError as error:
                raise Refused(BAD_ENVIRONMENT, f"CNI_NETNS is {request.netns}: {error.strerror}") from None
        yield kernel
    finally:
        kernel.close()
        os.close(lock)


def _locked() -> int:
    """A descriptor that holds the lock until it is closed."""
    try:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(IO_FAILURE, f"{LOCK} cannot be opened: {error.strerror}") from None
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _lacking(kernel: Kernel, plan: Plan) -> Changes:
    """What is there as planned stays: the bridge and its address, once they were made for another Pod."""
    changes = []
    for name, wanted in plan.netns.items():
        found = kernel.read(wanted)
        have = {diff.key(value): value for value in diff.in_order(found)}
        added = [each for each in diff.in_order(wanted) if not _is_there(each, have.get(diff.key(each)))]
        changes.append(NetnsChange(name=name, old=found, new=wanted, added=tuple(added)))
    return Changes(netns=tuple(changes))


def _is_there(wanted: object, got: object) -> bool:
    return got is not None and drift.same(wanted, got)


def _result(request: Request, plan: Plan, given: tuple[IPInterface, ...], ipam: Mapping[str, Any]) -> dict[str, Any]:
    node, pod = plan.netns[NODE], plan.netns[_pod(request)]
    inside = next(link for link in pod.links if link.role is Role.POD_ETH)
    there = [*({"name": link.name, "mac": link.mac} for link in node.links), _interface(inside, request.netns)]
    ips = [
        {
            "address": str(_address(pod, each)),
            "gateway": str(modes.gateway(request.mode, each)),
            "interface": len(there) - 1,
        }
        for each in given
    ]
    if request.version < "1.0.0":
        ips = [{"version": "6" if ":" in str(each["address"]) else "4", **each} for each in ips]
    routes = [{"dst": str(route.dst), **({"gw": str(route.via)} if route.via else {})} for route in pod.routes]
    return {
        "cniVersion": request.version,
        "interfaces": there,
        "ips": ips,
        "routes": routes,
        "dns": request.config.get("dns") or ipam.get("dns") or {},
    }


def _interface(link: Link, sandbox: str) -> dict[str, Any]:
    return {"name": link.name, "mac": link.mac, "sandbox": sandbox}


def _address(pod: NetnsPlan, given: IPInterface) -> IPInterface:
    """With the prefix that the mode gives it."""
    found = (each for each in pod.addresses if isinstance(each, Address) and each.address.ip == given.ip)
    return next(found).address


def code_of(error: EmuError) -> int:
    """Which number a runtime is told."""
    if isinstance(error, PluginError):
        return error.code or OUR_OWN
    return OF_PLAN if error.exit_code == 2 else OF_KERNEL
