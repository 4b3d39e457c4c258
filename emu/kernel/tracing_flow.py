"""Netfilter's own account of a flow: tracing switched on for its packets in some namespaces, events collected."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from emu.errors import EmuError, KernelError
from emu.kernel import conntrack, tracing_switch
from emu.kernel.netlink import NETLINK_NETFILTER, give_room, messages
from emu.kernel.netns import Netns, socket_in
from emu.kernel.tracing_events import NFT_MSG_TRACE, Traversals
from emu.kernel.tracing_legacy import MSG_PACKET, LegacyLog
from emu.kernel.tracing_rules import RuleTexts
from emu.kernel.tracing_switch import NftSwitch, RawSwitch, Switch
from emu.plan.model import IPAddress
from emu.trace.model import Headers

_GROUP_CONNTRACK, _GROUP_TRACE = 1, 9  # NFNLGRP_CONNTRACK_NEW, NFNLGRP_NFTRACE


class FlowTrace:
    """Armed when the constructor returns. Traces the packets of `proto` from and to `addresses` (a flow's client, or
    whatever no NAT on the way changes), and ICMP errors to them; and the tunnels' packets with such `outer` headers,
    whatever their source port. Raises KernelError, MissingTool. A context manager; what was collected can be asked for
    after `close`."""

    def __init__(
        self,
        namespaces: Mapping[str, Netns],
        proto: str,
        addresses: Iterable[IPAddress],
        *,
        outer: Iterable[Headers] = (),
        variant: str = "nft",
        nf_tables: bool | None = None,
    ) -> None:
        """`nf_tables`: whether the kernel has them, if that is known."""
        self._namespaces = dict(namespaces)
        self._listeners: dict[str, Listener] = {}
        self._texts: dict[tuple[str, int], RuleTexts] = {}
        self._variant = variant
        watched = [*tracing_switch.of_flow(proto, addresses), *tracing_switch.of_tunnels(outer)]
        self._switch = self._suitable(nf_tables)(watched)
        try:
            for name, netns in self._namespaces.items():
                self._listeners[name] = Listener(netns, self._switch, variant)
            self._everywhere(self._switch.on)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> FlowTrace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rules(self, netns: str, headers: Headers) -> tuple[str, ...]:
        """The rules the flow's first packet with these headers matched in `netns` from where it had them, in order:
        `-t nat -A KUBE-SERVICES …`."""
        listener = self._listeners.get(netns)
        if listener is None:
            return ()
        matched = listener.traversals().rules(headers)
        texts = (self._text_of(netns, headers.src.version).text(each) for each in matched)
        return tuple(text for text in texts if text)

    def connections(self, netns: str) -> tuple[conntrack.Entry, ...]:
        """The conntrack entries that are new in `netns`, those too that are gone again: a RST that is the first answer
        takes its entry along."""
        listener = self._listeners.get(netns)
        if listener is None:
            return ()
        listener.traversals()
        return tuple(listener.connections)

    @property
    def lost(self) -> tuple[str, ...]:
        """The namespaces whose kernel had more events than there was room for: what is known of them is not all."""
        return tuple(name for name, listener in self._listeners.items() if listener.lost)

    def close(self) -> list[EmuError]:
        """Switch tracing off everywhere; what could not be undone is returned."""
        listeners, errors = list(self._listeners.values()), []

        def undo(netns: Netns) -> None:
            try:
                self._switch.off(netns)
            except EmuError as error:
                errors.append(error)

        if any(listener.open for listener in listeners):
            self._everywhere(undo)
        for listener in listeners:
            listener.close()
        return errors

    def _suitable(self, nf_tables: bool | None) -> type[Switch]:
        if self._variant != "legacy" or not self._namespaces:
            return NftSwitch
        known = tracing_switch.has_nf_tables(next(iter(self._namespaces.values()))) if nf_tables is None else nf_tables
        return NftSwitch if known else RawSwitch

    def _text_of(self, netns: str, family: int) -> RuleTexts:
        if (netns, family) not in self._texts:
            self._texts[netns, family] = RuleTexts(self._namespaces[netns], family, self._variant)
        return self._texts[netns, family]

    def _everywhere(self, action: Callable[[Netns], object]) -> None:
        with ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="trace") as pool:
            list(pool.map(action, self._namespaces.values()))


class Listener:
    """The events of one namespace. A thread takes them from the kernel, whose room for an ordinary user is small
    (net.core.rmem_max); they wait here until they are asked for."""

    def __init__(self, netns: Netns, switch: Switch, variant: str) -> None:
        self.open, self.lost = True, False
        self._traversals = Traversals()
        self.connections: list[conntrack.Entry] = []
        self._sock = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        give_room(self._sock)
        # A socket without a port number of its own would be taken for the kernel, which does not hear itself.
        self._sock.bind((0, 1 << (_GROUP_TRACE - 1) | 1 << (_GROUP_CONNTRACK - 1)))
        self._legacy = LegacyLog(netns, switch.first) if variant == "legacy" else None
        self._taken: deque[bytes] = deque()
        self._taking = threading.Lock()
        self._thread = threading.Thread(target=self._follow, name="trace events", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while self.open:
            if select.select([self._sock], [], [], 0.02)[0]:
                self._take()

    def _take(self) -> None:
        with self._taking:
            self._taken.extend(self._raw(self._sock))

    def traversals(self) -> Traversals:
        if self.open:
            self._take()
            waiting = [self._taken.popleft() for _ in range(len(self._taken))]
            for kind, body in _messages(waiting):
                if kind == NFT_MSG_TRACE and not self._legacy:
                    self._traversals.feed(body)
                elif kind == conntrack.CT_NEW:
                    self.connections.append(conntrack.entry_of(body))
            if self._legacy:
                self._add_legacy(self._legacy)
        return self._traversals

    def _add_legacy(self, log: LegacyLog) -> None:
        for kind, body in _messages(self._raw(log.sock)):
            for part in log.segments(body) if kind == MSG_PACKET else ():
                self._traversals.begin(0, part)

    def _raw(self, sock: socket.socket) -> Iterator[bytes]:
        while True:
            try:
                yield sock.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"cannot read trace events: {error.strerror}") from error
                self.lost = True

    def close(self) -> None:
        if self.open:
            self.traversals()
            self.open = False
            self._thread.join()
            self._sock.close()
            if self._legacy:
                self._legacy.close()


def _messages(datagrams: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for raw in datagrams:
        for kind, _, _, body in messages(raw):
            yield kind, body
