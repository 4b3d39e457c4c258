"""The kubelet's runtime, with the kernel: sockets and programs in Pods, and the two server processes."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from emu.dnsserver.service import DnsService
from emu.errors import EmuError
from emu.kernel.apply import Kernel
from emu.kernel.netns import socket_in
from emu.kernel.pods import PodNamespaces
from emu.kernel.process import Child
from emu.plan.model import PodSandbox
from emu.workloads.runtime import Handle, OnExit
from emu.workloads.service import WorkloadService

log = logging.getLogger(__name__)

BACKLOG = 511  # nginx's
DNS, DNS_PORT = "coredns", 53


@dataclass(frozen=True, slots=True)
class Served:
    """A container that a server process answers for. `key` is what that server calls it."""

    service: str
    key: int | str
    on_exit: OnExit


class KernelRuntime:
    """Implements `workloads.runtime.Runtime`."""

    def __init__(self, kernel: Kernel, pods: PodNamespaces, dns: DnsService, workloads: WorkloadService) -> None:
        self._kernel, self._pods, self._dns, self._workloads = kernel, pods, dns, workloads
        self._numbers = count(1)
        self.with_v6: set[str] = set()  # netns of Pods that have an IPv6 address

    def listen(self, netns: str, kind: str, port: int) -> socket.socket:
        where = self._kernel.netns(netns)
        family = socket.AF_INET6 if netns in self.with_v6 else socket.AF_INET
        sock = socket_in(where, family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        try:
            if kind == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
            if kind == "tcp":
                sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock

    def resolve(self, netns: str, pod: PodSandbox) -> None:
        """Answer for names at the Pod's own address for that, as its runtime does."""
        where, sockets = self._kernel.netns(netns), []
        try:
            for role, kind in (
                ("udp", socket.SOCK_DGRAM),
                ("tcp", socket.SOCK_STREAM),
                ("upstream", socket.SOCK_DGRAM),
            ):
                sockets.append((role, sock := socket_in(where, socket.AF_INET, kind)))
                if role != "upstream":
                    sock.bind((pod.resolver, DNS_PORT))
                if role == "tcp":
                    sock.listen(BACKLOG)
            self._dns.add(netns, pod.resolver, sockets, embedded=True, on_exit=lambda _: self._again(netns, pod))
        finally:
            for _, sock in sockets:
                sock.close()

    def _again(self, netns: str, pod: PodSandbox) -> None:
        """A runtime is no container of the Pod: nothing of it is seen there but that names have no answer meanwhile."""
        try:
            self.resolve(netns, pod)
        except (EmuError, KeyError, OSError) as error:  # the Pod may have gone with it
            log.warning("%s: nobody answers for names there: %s", netns, error)

    def silence(self, netns: str, pod: PodSandbox | None) -> None:
        """The Pod has gone."""
        if pod and pod.resolver:
            self._dns.remove(netns)

    def connect_socket(self, netns: str, family: int) -> socket.socket:
        sock = socket_in(self._kernel.netns(netns), family, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def spawn(
        self,
        netns: str,
        pod: PodSandbox,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        output_fd: int,
        on_exit: OnExit,
    ) -> Handle:
        handle = self._pods.ensure(self._kernel.netns(netns), pod)
        return self._pods.spawn(handle, argv, env, cwd=cwd, stdout=output_fd, stderr=output_fd, on_exit=on_exit)

    def serve(
        self,
        netns: str,
        pod: PodSandbox,
        handler: str,
        argv: Sequence[str],
        *,
        sockets: Sequence[tuple[str, socket.socket]],
        log_fd: int,
        on_exit: OnExit,
    ) -> Handle:
        if handler == DNS:
            key = f"{netns} {next(self._numbers)}"
            self._dns.add(key, str(pod.addresses[0]), sockets, on_exit=on_exit)
            return Served(DNS, key, on_exit)
        return Served(
            "", self._workloads.add(handler, argv, pod.hostname, sockets, log_fd=log_fd, on_exit=on_exit), on_exit
        )

    def kill(self, handle: Handle, signum: int) -> None:
        if isinstance(handle, Child):
            handle.signal(signum)
        elif isinstance(handle, Served):
            if handle.service == DNS:
                self._dns.remove(str(handle.key))
            else:
                self._workloads.remove(int(handle.key))
            # As a process would: the news of the end does not come before the call has returned.
            threading.Thread(target=_tell, args=(handle.on_exit,), daemon=True).start()


def _tell(on_exit: Callable[[int], None]) -> None:
    on_exit(0)
