"""CNI plugins called for the Pods of a lab, Node by Node, and what they have made, as it is found in the kernel.

A Node with plugins is a machine of its own, as one with daemons is (`kernel.daemons`): /run, /tmp and /var/lib/cni are
its own. In its /run/netns stand the namespaces of the Pods joined there, and the folders of cni.binDir are seen in it
wherever they are. Pods of a Node are joined one after another, so that the same lab gives the same addresses.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from emu.addressing import IPAddress
from emu.errors import PluginError
from emu.kernel import cniprotocol, process
from emu.kernel.cniprotocol import Caller, Result
from emu.kernel.foreign import Observer
from emu.kernel.netns import Netns
from emu.kernel.pods import PodHandle
from emu.plan.attachment import Attachment, PluginList
from emu.plan.model import Foreign, NetnsChange, NetnsPlan, Plan

log = logging.getLogger(__name__)

NETNS = "/run/netns/{}"  # in the Node's namespaces
PROGRAMS = "/run/iptables-{}"  # of one variant, under their plain names, which plugins call
TOOLS = ("iptables", "ip6tables")
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a Pod's ADD went: its addresses, or why it has none."""

    pod: str  # namespace/name
    container_id: str
    addresses: tuple[IPAddress, ...] = ()
    error: str = ""


@dataclass(slots=True)
class Joined:
    """`result` None: ADD has failed, and is due again at `again_s` of the monotonic clock."""

    attachment: Attachment
    outcome: Outcome
    result: Result | None = None
    error: str = ""
    tries: int = 0
    again_s: float = 0.0


@dataclass(slots=True)
class Place:
    """A Node that plugins work on."""

    handle: PodHandle
    caller: Caller
    ready: set[PluginList] = field(default_factory=set)  # whose VERSION and STATUS have been asked


class Plugins:
    """`machine` makes a Node's namespaces, `netns_of` finds a netns by name. Changes come from one thread at a time."""

    def __init__(
        self, machine: Callable[[str], PodHandle], netns_of: Callable[[str], Netns], observer: Observer
    ) -> None:
        self._machine, self._netns_of, self._observer = machine, netns_of, observer
        self._places: dict[str, Place] = {}
        self._joined: dict[str, Joined] = {}  # netns → what was called for it
        self._left: set[str] = set()  # Nodes where a Pod has gone since the last join
        self._lock = threading.Lock()
        self.outcomes: deque[Outcome] = deque()  # whoever has made use of one takes it away
        self.found: dict[str, Foreign] = {}  # netns → what is the plugins'
        self.on_change: Callable[[], None] = lambda: None

    # ---- what goes

    def leave(self, changes: Iterable[NetnsChange], plan: Plan) -> None:
        """DEL for Pods that go, and for those whose attachment is another: before their namespaces go."""
        leaving = [each for each in changes if each.name in self._joined and not self._stays(each)]
        if leaving:
            self._each_node(leaving, lambda node, of_node: self._leave(node, of_node, plan))
            self.on_change()

    def _stays(self, change: NetnsChange) -> bool:
        wanted = change.new.attachment if change.new else None
        return wanted == self._joined[change.name].attachment

    def _leave(self, node: str, changes: Sequence[NetnsChange], plan: Plan) -> None:
        place = self._places[node]
        networks = {self._joined[change.name].attachment.network for change in changes}
        with self._watched(node, plan, *networks):
            for change in changes:
                joined = self._joined.pop(change.name)
                if joined.result is None:  # DEL was called when ADD had failed
                    continue
                for error in self._delete(place, change.name, joined.attachment, joined.result):
                    log.warning("%s: %s", node, error.message)
                self.found.pop(change.name, None)
            self._collect(node, place, networks)
        self._left.add(node)

    def _delete(self, place: Place, netns: str, attachment: Attachment, result: Result | None) -> list[PluginError]:
        errors = place.caller.delete(attachment, NETNS.format(netns), result)
        try:
            place.handle.hide(NETNS.format(netns))
        except OSError as error:
            log.warning("%s: %s", netns, error)
        return errors

    def _collect(self, node: str, place: Place, networks: Iterable[PluginList]) -> None:
        left = [each.attachment for each in self._joined_on(node).values()]
        for network in networks:
            for error in place.caller.gc(network, node, [each for each in left if each.network == network]):
                log.warning("%s: %s", node, error.message)

    # ---- what comes

    def join(self, changes: Iterable[NetnsChange], plan: Plan) -> None:
        """ADD for new Pods; again for those that have failed and are concerned by a change, or on a Node that a Pod has
        left. Raises PluginError only for plugins that no Pod can be joined by. A Pod that is new and has been joined
        already, before something else failed, is told of once more: nobody may have made use of it."""
        changes = list(changes)
        known = [self._joined[each.name].outcome for each in changes if each.old is None and self._is_in(each)]
        if known:
            self.outcomes.extend(known)
            self.on_change()
        wanted = {each.name: each for each in changes if each.new and each.new.attachment and not self._is_in(each)}
        for name, joined in self._joined.items():
            if joined.result is None and joined.attachment.node in self._left and name in plan.netns:
                wanted.setdefault(name, _again(plan.netns[name]))
        self._left.clear()
        self._join_all(list(wanted.values()), plan)

    def retry(self, plan: Plan) -> None:
        """ADD again for those whose time has come."""
        now = time.monotonic()
        due = [name for name, each in self._joined.items() if each.result is None and each.again_s <= now]
        self._join_all([_again(plan.netns[name]) for name in due if name in plan.netns], plan)

    def due_s(self) -> float | None:
        """In how many seconds that is; None when there is nothing to try again."""
        times = [each.again_s for each in self._joined.copy().values() if each.result is None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _is_in(self, change: NetnsChange) -> bool:
        return change.name in self._joined and self._joined[change.name].result is not None

    def _join_all(self, changes: Sequence[NetnsChange], plan: Plan) -> None:
        if changes:
            self._each_node(changes, lambda node, of_node: self._join(node, of_node, plan))
            self.on_change()

    def _join(self, node: str, changes: Sequence[NetnsChange], plan: Plan) -> None:
        place = self._place(node, plan.iptables)
        wanted = {each.name: each.new.attachment for each in changes if each.new and each.new.attachment}
        networks = {each.network for each in wanted.values()}
        for network in networks:
            self._prepare(node, place, network)
        with self._watched(node, plan, *networks):
            for netns, attachment in wanted.items():
                self._add(place, netns, attachment)
        for netns, attachment in wanted.items():
            if self._joined[netns].result is not None:
                self.found[netns] = self._observer.of_pod(plan.netns[netns], plan, attachment.network.name)

    def _add(self, place: Place, netns: str, attachment: Attachment) -> None:
        before = self._joined.get(netns)
        outcome = Outcome(pod=attachment.pod, container_id=attachment.container_id)
        joined = Joined(attachment, outcome, tries=before.tries + 1 if before else 1)
        log.info("%s# cni ADD %s for %s", attachment.node, attachment.network.name, attachment.pod)
        try:
            self._show(place, netns, attachment)
            joined.result = place.caller.add(attachment, NETNS.format(netns))
            joined.outcome = replace(outcome, addresses=_addresses(joined.result, attachment))
        except PluginError as error:
            for more in self._delete(place, netns, attachment, joined.result):
                log.warning("%s: after a failed ADD: %s", attachment.node, more.message)
            joined.result, joined.error = None, str(error).replace("\n  hint: ", "; ")
            joined.again_s = time.monotonic() + min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (joined.tries - 1))
            joined.outcome = replace(outcome, error=joined.error)
        self._joined[netns] = joined
        self.outcomes.append(joined.outcome)

    def _show(self, place: Place, netns: str, attachment: Attachment) -> None:
        target = NETNS.format(netns)
        try:
            place.handle.show(self._netns_of(netns).fd, target, directory=False)
        except OSError as error:
            what = f"{attachment.node}: {target} of Pod {attachment.pod} cannot be mounted: {error.strerror}"
            raise PluginError(what) from error

    # ---- a Node

    def _place(self, node: str, variant: str) -> Place:
        with self._lock:
            handle = self._machine(node)
            known = self._places.get(node)
            if known is None or known.handle is not handle:
                known = self._places[node] = Place(handle, _caller(handle, variant))
            return known

    def _prepare(self, node: str, place: Place, network: PluginList) -> None:
        if network in place.ready:
            return
        for path in network.paths:
            if os.path.isdir(path):
                place.handle.show(path, path, directory=True)
        place.caller.version(network)
        place.caller.status(network, node)
        place.ready.add(network)

    @contextmanager
    def _watched(self, node: str, plan: Plan, *networks: PluginList) -> Iterator[None]:
        """What comes and goes on the Node meanwhile is the plugins' doing."""
        planned, by = plan.netns[node], ", ".join(sorted({each.name for each in networks}))
        first = self._observer.read(planned, plan.iptables)
        try:
            yield
        finally:
            known, pods = self.found.get(node), self._joined_on(node)
            self.found[node] = self._observer.of_node(planned, first, known, pods, plan=plan, by=by)

    def _joined_on(self, node: str) -> dict[str, Joined]:
        """Out of a copy: those who look after other Nodes write meanwhile."""
        return {name: each for name, each in self._joined.copy().items() if each.attachment.node == node}

    def _each_node(self, changes: Sequence[NetnsChange], action: Callable[[str, Sequence[NetnsChange]], None]) -> None:
        by_node: dict[str, list[NetnsChange]] = defaultdict(list)
        for change in changes:
            attachment = (change.new and change.new.attachment) or (change.old and change.old.attachment)
            assert attachment
            by_node[attachment.node].append(change)
        if not by_node:
            return
        with ThreadPoolExecutor(max_workers=1 + (os.cpu_count() or 1), thread_name_prefix="plugins") as pool:
            futures = [pool.submit(action, node, of_node) for node, of_node in by_node.items()]
        for future in futures:
            future.result()

    # ---- what is there

    def read(self, plan: NetnsPlan) -> Attachment | None:
        """A Pod's attachment with what is wrong with it, by CHECK or because it never came to be."""
        attachment, joined = plan.attachment, self._joined.get(plan.name)
        if attachment is None or joined is None:
            return attachment
        if joined.result is None:
            return replace(attachment, wrong=joined.error)
        try:
            caller = self._places[attachment.node].caller
            caller.check(attachment, NETNS.format(plan.name), joined.result)
        except PluginError as error:
            return replace(attachment, wrong=error.message)
        return attachment


def _again(plan: NetnsPlan) -> NetnsChange:
    return NetnsChange(name=plan.name, old=plan, new=plan)


def _addresses(result: Result, attachment: Attachment) -> tuple[IPAddress, ...]:
    """One of each family of the cluster: a Pod without is none. Others mean nothing here."""
    try:
        given = tuple(ip_address(text) for text in cniprotocol.addresses(result))
    except (ValueError, KeyError, TypeError) as error:
        raise PluginError(f"the result of ADD for Pod {attachment.pod} has no readable addresses: {error}") from error
    lacking = [family for family in attachment.families if family not in {each.version for each in given}]
    if lacking:
        what = f"the result of ADD for Pod {attachment.pod} names no IPv{lacking[0]} address"
        raise PluginError(what, hint="have an ipam plugin give one: the topology's family says which are needed")
    return tuple(next(each for each in given if each.version == family) for family in attachment.families)


def _caller(handle: PodHandle, variant: str) -> Caller:
    """`iptables` is, for plugins, the variant that the rest of the Node's rules are written with."""
    programs = PROGRAMS.format(variant)
    os.makedirs(handle.path(programs), exist_ok=True)
    for tool in TOOLS:
        for ending in ("", "-save", "-restore"):
            if found := shutil.which(f"{tool}-{variant}{ending}", path=process.PATH):
                os.symlink(found, handle.path(f"{programs}/{tool}{ending}"))

    def run(argv: Sequence[str], stdin: str, env: Mapping[str, str]) -> process.Completed:
        return process.run(
            argv, ns=handle.namespaces, stdin=stdin, env=env, check=False, timeout_s=cniprotocol.TIMEOUT_S
        )

    return Caller(run=run, environment={**process.ENVIRONMENT, "PATH": f"{programs}:{process.PATH}"})
