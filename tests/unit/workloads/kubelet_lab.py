"""A kubelet with a clock of its own and a runtime that only writes down what it is asked."""

import os
import signal
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

from emu.api.images import Program
from emu.api.objects import Container
from emu.errors import NoSuchProgram
from emu.plan.model import PodSandbox, Process
from emu.poller import Poller
from emu.workloads.kubelet import Kubelet


@dataclass(eq=False)
class Started:
    """A container (or an exec probe) that runs. `end` is the kernel telling of its exit."""

    argv: tuple
    env: dict
    on_exit: object
    handler: str = ""
    roles: tuple = ()
    signals: list = field(default_factory=list)
    ports: list = field(default_factory=list)

    def end(self, code=0):
        self.on_exit(code)


class FakeRuntime:
    def __init__(self):
        self.started, self.taken, self.programs_missing = [], {}, set()
        self.stubborn = False  # programs ignore SIGTERM

    def listen(self, netns, kind, port):
        if port and (netns, kind, port) in self.taken:
            raise OSError(98, "Address already in use")
        self.taken[netns, kind, port] = True
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)

    def connect_socket(self, netns, family):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def spawn(self, netns, pod, argv, *, env, cwd, output_fd, on_exit):
        if argv[0] in self.programs_missing:
            raise NoSuchProgram(argv[0])
        os.write(output_fd, f"{' '.join(argv)} in {cwd}\n".encode())
        self.started.append(Started(tuple(argv), dict(env), on_exit))
        return self.started[-1]

    def serve(self, netns, pod, handler, argv, *, sockets, log_fd, on_exit):
        roles = tuple(role for role, _ in sockets)
        self.started.append(Started(tuple(argv), {}, on_exit, handler, roles))
        return self.started[-1]

    def kill(self, handle, signum):
        handle.signals.append(signum)
        if signum == signal.SIGKILL:
            handle.end(-signal.SIGKILL)
        elif handle.handler or not self.stubborn:
            handle.end(0)

    @property
    def last(self):
        return self.started[-1]


class Clock:
    now = 1704067200.0  # 2024-01-01T00:00:00Z

    def __call__(self):
        return self.now


class Lab:
    def __init__(self, directory):
        self.clock, self.runtime, self.reports = Clock(), FakeRuntime(), []
        self.tellings = 0
        self.kubelet = Kubelet(
            self.runtime,
            self.told,
            self.clock,
            log_directory=directory,
            poller=Poller(self.clock),
            node_address={"node1": "192.168.100.11"}.get,
        )

    def told(self, statuses):
        self.tellings += 1
        self.reports.extend(statuses.values())

    def start(self, pod):
        self.kubelet.start("default.web-0", pod)
        self.settle()
        return self.status

    def settle(self):
        for _ in range(4):
            self.kubelet.turn()

    def advance(self, seconds):
        """Let time pass, stopping at every timer on the way."""
        self.settle()
        end = self.clock.now + seconds
        while (due := self.kubelet.poller.next_due()) is not None and due <= end:
            self.clock.now = max(due, self.clock.now)
            self.settle()
        self.clock.now = end
        self.settle()

    def wait(self, holds):
        """Real sockets take their time, which is not the clock's."""
        for _ in range(500):
            if holds():
                return
            self.kubelet.turn(0.01)
        raise AssertionError(f"never held; last status: {self.status}")

    @property
    def status(self):
        return self.reports[-1]

    @property
    def container(self):
        return self.status.container_statuses[0]

    def condition(self, kind):
        return next(each for each in self.status.conditions if each.type == kind)


def process(name="app", *argv, serve="", init=False, env=None, **container):
    argv = argv or (() if serve else ("sleep", "infinity"))
    return Process(
        container=Container(name=name, image=f"{name}:1", **container),
        program=Program(serve=serve, argv=tuple(argv)),
        env=env or {},
        init=init,
    )


def pod(*processes, policy="Always", grace=30, address="127.0.0.1"):
    return PodSandbox(
        namespace="default",
        name="web-0",
        uid="11111111-2222-4333-8444-555555555555",
        node="node1",
        hostname="web-0",
        addresses=(ip_address(address),),
        files=(),
        processes=processes or (process(),),
        restart_policy=policy,
        grace_period_s=grace,
    )
