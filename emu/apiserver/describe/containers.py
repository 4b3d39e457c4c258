"""The containers of a Pod, and of a template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emu.api.objects import Container, ContainerState, ContainerStatus, EnvVar, ObjectMeta, PodTemplateSpec, Probe
from emu.apiserver.describe.lines import NONE, Lines, annotated, mapping, moment
from emu.cluster.environment import of_metadata

NO_VOLUMES = f"Volumes:\t{NONE}"


def containers(
    title: str, found: Sequence[Container], statuses: Sequence[ContainerStatus], *, pod: ObjectMeta | None = None
) -> Lines:
    """In a template (of no Pod) they stand further to the right, by kubectl's own measure."""
    by_name = {each.name: each for each in statuses}
    title_margin, name_margin = ("  ", "   ") if pod is None else ("", "  ")
    lines = [f"{title_margin}{title}:"]
    for container in found:
        lines.append(f"{name_margin}{container.name}:")
        lines += [f"    {line}" for line in _container(container, by_name.get(container.name), pod)]
    return lines


def _container(container: Container, status: ContainerStatus | None, pod: ObjectMeta | None) -> Iterator[str]:
    if status:
        yield "Container ID:\t"
    yield f"Image:\t{container.image}"
    if status:
        yield "Image ID:\t"
    more = "s" if len(container.ports) > 1 else ""
    yield f"Port{more}:\t{_ports((each.container_port, each.protocol) for each in container.ports)}"
    yield f"Host Port{more}:\t{_ports((each.host_port, each.protocol) for each in container.ports)}"
    yield from _words("Command", container.command)
    yield from _words("Args", container.args)
    if status:
        yield from state("State", status.state)
        if status.last_state.terminated:
            yield from state("Last State", status.last_state)
        yield f"Ready:\t{status.ready}"
        yield f"Restart Count:\t{status.restart_count}"
    for name in ("liveness", "readiness", "startup"):
        found: Probe | None = getattr(container, f"{name}_probe")
        if found:
            yield f"{name.capitalize()}:\t{probe(found)}"
    yield from _environment(container.env, pod)
    yield f"Mounts:\t{NONE}"


def _ports(found: Iterable[tuple[int, str]]) -> str:
    return ", ".join(f"{number}/{protocol}" for number, protocol in found) or NONE


def _words(title: str, words: Sequence[str]) -> Iterator[str]:
    if words:
        yield f"{title}:"
        yield from (f"  {line}" for word in words for line in word.split("\n"))


def state(title: str, value: ContainerState) -> Lines:
    if value.running:
        return [f"{title}:\tRunning", f"  Started:\t{moment(value.running.started_at)}"]
    if value.waiting:
        return [f"{title}:\tWaiting", *_reason(value.waiting.reason, value.waiting.message)]
    if (ended := value.terminated) is not None:
        return [
            f"{title}:\tTerminated",
            *_reason(ended.reason, ended.message),
            f"  Exit Code:\t{ended.exit_code}",
            *([f"  Signal:\t{ended.signal}"] if ended.signal else []),
            f"  Started:\t{moment(ended.started_at)}",
            f"  Finished:\t{moment(ended.finished_at)}",
        ]
    return [f"{title}:\tWaiting"]


def _reason(reason: str, message: str) -> Lines:
    return ([f"  Reason:\t{reason}"] if reason else []) + ([f"  Message:\t{message}"] if message else [])


def probe(value: Probe) -> str:
    """`http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3`."""
    numbers = (
        f"delay={value.initial_delay_seconds}s timeout={value.timeout_seconds}s period={value.period_seconds}s "
        f"#success={value.success_threshold} #failure={value.failure_threshold}"
    )
    return f"{_action(value)} {numbers}"


def _action(value: Probe) -> str:
    if value.exec:
        return f"exec [{' '.join(value.exec.command)}]"
    if (get := value.http_get) is not None:
        return f"http-get {get.scheme.lower()}://{get.host}:{get.port}{get.path}"
    if value.tcp_socket:
        return f"tcp-socket {value.tcp_socket.host}:{value.tcp_socket.port}"
    return "unknown"


def _environment(variables: Sequence[EnvVar], pod: ObjectMeta | None) -> Iterator[str]:
    """Of the fields that are asked for kubectl knows those of the metadata."""
    if not variables:
        yield f"Environment:\t{NONE}"
        return
    yield "Environment:"
    for each in variables:
        if each.value_from:
            reference = each.value_from.field_ref
            known = of_metadata(pod, reference.field_path) if pod else None
            yield f"  {each.name}:\t{known or ''} ({reference.api_version}:{reference.field_path})"
        else:
            yield f"  {each.name}:\t{each.value}"


def template(value: PodTemplateSpec) -> Lines:
    spec, meta = value.spec, value.metadata
    lines = ["Pod Template:", *_indented(mapping("Labels", meta.labels))]
    if meta.annotations:
        lines += _indented(annotated(meta.annotations))
    if spec.service_account_name:
        lines += _indented([f"Service Account:\t{spec.service_account_name}"])
    if spec.init_containers:
        lines += containers("Init Containers", spec.init_containers, ())
    lines += containers("Containers", spec.containers, ())
    priority = [f"Priority Class Name:\t{spec.priority_class_name}"] if spec.priority_class_name else []
    return lines + _indented([NO_VOLUMES, *priority, *node_selectors(spec.node_selector)])


def node_selectors(values: Mapping[str, str]) -> Lines:
    return [*mapping("Node-Selectors", values), f"Tolerations:\t{NONE}"]


def _indented(lines: Sequence[str]) -> Lines:
    return [f"  {line}" for line in lines]
