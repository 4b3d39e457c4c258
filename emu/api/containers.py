"""Containers, their probes and what becomes of them. See `emu.api.objects`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from emu.api.meta import IntOrString


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0  # 0: none; a port of the Node that leads here, where the CNI mode can do that
    REFUSED: ClassVar = {"hostIP": "a hostPort is one of all the Node's addresses"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFieldSelector:
    field_path: str
    api_version: str = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVarSource:
    field_ref: ObjectFieldSelector
    REFUSED: ClassVar = {
        "configMapKeyRef": "there are no ConfigMaps",
        "secretKeyRef": "there are no Secrets",
        "resourceFieldRef": "containers have no resource limits",
        "fileKeyRef": "there are no volumes",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPHeader:
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPGetAction:
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()
    REFUSED: ClassVar = {"protocol": "probes speak HTTP/1.1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPSocketAction:
    port: IntOrString
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecAction:
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    REFUSED: ClassVar = {
        "grpc": "probes speak http, tcp or run a program",
        "terminationGracePeriodSeconds": "the Pod's own grace period holds for all",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    tty: bool = False
    IGNORED: ClassVar = frozenset(
        {
            "imagePullPolicy",
            "resources",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "securityContext",
            "stdinOnce",
            "resizePolicy",
        }
    )
    REFUSED: ClassVar = {
        "envFrom": "there are no ConfigMaps and Secrets",
        "volumeMounts": "there are no volumes",
        "volumeDevices": "there are no volumes",
        "lifecycle": "its hooks would not be run",
        "restartPolicy": "there are no sidecar containers, only init containers that end",
        "restartPolicyRules": "the Pod's restartPolicy holds for all",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateWaiting:
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateRunning:
    started_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateTerminated:
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    IGNORED: ClassVar = frozenset({"containerID"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    name: str
    image: str = ""
    ready: bool = False
    started: bool = False
    restart_count: int = 0
    state: ContainerState = field(default_factory=ContainerState)
    last_state: ContainerState = field(default_factory=ContainerState)
    ALWAYS: ClassVar = frozenset({"ready", "restartCount", "started"})
    IGNORED: ClassVar = frozenset(
        {
            "allocatedResources", "allocatedResourcesStatus", "containerID", "imageID", "resources", "stopSignal",
            "user", "volumeMounts",
        }
    )  # fmt: skip
