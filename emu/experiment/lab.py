"""What a running step has at hand: the testbed, the script's names looked up in it, captures, what is broken."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emu.api import resources
from emu.api.load import Loaded
from emu.api.objects import Node, Pod, Service
from emu.api.resources import Resource
from emu.api.wrong import Wrong
from emu.cluster import lifecycle
from emu.cluster.routers import routers
from emu.errors import InputError
from emu.experiment import references
from emu.experiment.faults import Fault, Undo
from emu.experiment.model import Experiment, Failed
from emu.experiment.testbed import Ran, Recording, Testbed
from emu.trace.model import TraceResult

PODS, NODES, SERVICES = (resources.BY_KIND[kind] for kind in ("Pod", "Node", "Service"))
PAUSE_S = 0.02  # between two looks at something that is waited for


class Lab:
    def __init__(self, experiment: Experiment, testbed: Testbed, directory: Path) -> None:
        self.testbed, self.directory = testbed, directory
        self.iptables = experiment.topology.iptables
        self.routers = tuple(each.name for each in routers(experiment.topology))
        self.recordings: dict[str, Recording] = {}  # under way
        self.files: dict[str, Path] = {}  # capture → its file
        self.broken: list[tuple[Fault, Undo]] = []
        self.commands: list[str] = []
        self.paths: list[TraceResult] = []
        self._read: Mapping[object, Loaded] = experiment.read

    def read(self, what: object) -> Loaded:
        return self._read[what]

    # -- looking up -------------------------------------------------------------------------------------------------

    def pods(self, namespace: str = "") -> list[Pod]:
        return [each for each in self.testbed.objects(PODS, namespace) if isinstance(each, Pod)]

    def nodes(self) -> list[Node]:
        return [each for each in self.testbed.objects(NODES) if isinstance(each, Node)]

    def where(self, text: str) -> str:
        """NAMESPACE/POD, or a Node's or router's name, of what the script calls it."""
        try:
            return references.where(self.pods(), self.nodes(), text, self.routers)
        except Wrong as wrong:
            raise InputError(f"{text}: {wrong.what}", hint=wrong.hint) from None

    def points(self, selectors: Sequence[str]) -> list[str]:
        pods, nodes = self.pods(), self.nodes()
        return [references.points(pods, nodes, each) for each in selectors]

    def target(self, text: str) -> str:
        """For a trace: a selector becomes the Pod it means."""
        name, port = references.split_port(text)
        return self.where(name) + port if references.selector(name) else text

    def url(self, text: str) -> str:
        """Names stay for DNS to find; labels become the address of a Pod."""
        scheme, host, rest = references.split_url(text)
        return scheme + (self.address(host) if references.selector(host) else host) + rest

    def addresses(self, text: str) -> tuple[str, ...]:
        """As `address`; of a Node those of every family."""
        node = next((node for node in self.nodes() if node.metadata.name == text.removeprefix("node/")), None)
        if node is None:
            return (self.address(text),)
        return tuple(each.address for each in node.status.addresses if each.type == "InternalIP")

    def address(self, text: str) -> str:
        """Of a Pod, Node or Service; anything else is taken for an address or a name already."""
        pods = references.matching(self.pods(), text)
        if pods:
            return pods[0].status.pod_ip
        for node in self.nodes():
            if node.metadata.name == text.removeprefix("node/"):
                return next(each.address for each in node.status.addresses if each.type == "InternalIP")
        name = text.removeprefix("service/")
        for service in self.testbed.objects(SERVICES):
            meta = service.metadata
            if isinstance(service, Service) and name in (f"{meta.namespace}/{meta.name}", _short(meta)):
                return service.spec.cluster_ip
        return text

    # -- doing ------------------------------------------------------------------------------------------------------

    def run(self, where: str, argv: Sequence[str], timeout_s: float = 10) -> Ran:
        """`where` as `where()` gives it."""
        self.commands.append(f"{where}# {shlex.join(argv)}")
        return self.testbed.run(where, argv, timeout_s)

    def sure(self, where: str, argv: Sequence[str]) -> str:
        """The output of a program that must succeed."""
        ran = self.run(where, argv)
        if ran.status:
            raise Failed(
                f"{argv[0]} to succeed", f"exit status {ran.status}", f"{self.commands[-1]}\n{ran.out}{ran.err}"
            )
        return ran.out

    def wait(self, met: Callable[[], str], timeout_s: float, what: str) -> None:
        """Until `met` has nothing to say; its last words are what was missing."""
        deadline = time.monotonic() + timeout_s
        while missing := met():
            if time.monotonic() > deadline:
                raise Failed(f"{what} within {timeout_s:g} s", missing)
            time.sleep(PAUSE_S)

    def wait_ready(self, timeout_s: float) -> None:
        """Every Pod is ready or has ended, and none is on its way out."""
        self.wait(lambda: "; ".join(_unready(each) for each in self.pods() if _unready(each)), timeout_s, "Pods ready")

    def wait_gone(self, resource: Resource, namespace: str, names: Sequence[str], timeout_s: float) -> None:
        def left() -> str:
            there = {each.metadata.name for each in self.testbed.objects(resource, namespace)}
            return ", ".join(f"{resource.singular}/{name} is still there" for name in names if name in there)

        self.wait(left, timeout_s, "it gone")


def _short(meta: object) -> str:
    """A Service of `default` is known by its name alone."""
    namespace, name = getattr(meta, "namespace", ""), getattr(meta, "name", "")
    return name if namespace == "default" else ""


def _unready(pod: Pod) -> str:
    if lifecycle.is_terminating(pod):
        return f"{references.key(pod)} is terminating"
    if lifecycle.is_ready(pod) or lifecycle.is_finished(pod):
        return ""
    return f"{references.key(pod)} is not ready ({pod.status.phase})"
