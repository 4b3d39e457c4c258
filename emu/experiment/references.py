"""How a script names a Pod or a Node: `client`, `kube-system/dns-1`, `pod/client`, `node1`, `node/node1`, and by labels
`app=nginx` or `shop/app=nginx` (the first such Pod by name), as generated names are not known when it is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from emu.api.objects import Node, Pod
from emu.api.wrong import Wrong, did_you_mean
from emu.cluster import lifecycle
from emu.cluster.selectors import has_all


def selector(text: str) -> tuple[str, dict[str, str]] | None:
    """(namespace, labels) of `shop/app=nginx,tier=web`; None for what is no selector."""
    if "=" not in text:
        return None
    namespace, _, labels = text.rpartition("/") if "/" in text.partition("=")[0] else ("", "", text)
    return namespace.removeprefix("pod/") if namespace != "pod" else "", _labels(labels)


def _labels(text: str) -> dict[str, str]:
    found = {}
    for each in text.split(","):
        key, _, value = each.partition("=")
        found[key.strip()] = value.strip()
    return found


def matching(pods: Iterable[Pod], text: str) -> list[Pod]:
    """The Pods of a selector or a name, by name; without those on their way out."""
    here = sorted((each for each in pods if not lifecycle.is_terminating(each)), key=lambda each: each.metadata.name)
    if chosen := selector(text):
        namespace, labels = chosen
        return [
            each
            for each in here
            if each.metadata.namespace == (namespace or "default") and has_all(labels, each.metadata.labels)
        ]
    plain = text.removeprefix("pod/")
    name = plain if "/" in plain else f"default/{plain}"
    return [each for each in here if key(each) == name]


def key(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def is_node(nodes: Iterable[Node], text: str) -> bool:
    return text.removeprefix("node/") in {each.metadata.name for each in nodes}


def where(pods: Sequence[Pod], nodes: Sequence[Node], text: str, routers: Collection[str] = ()) -> str:
    """NAMESPACE/POD, or a Node's or router's name. A Pod before a Node of the same name. Raises Wrong."""
    if not text.startswith("node/") and (found := matching(pods, text)):
        return key(found[0])
    if is_node(nodes, text):
        return text.removeprefix("node/")
    if text.removeprefix("router/") in routers:
        return text.removeprefix("router/")
    if selector(text):
        raise Wrong(f"is {text}, and no Pod has these labels", hint=_labelled(pods))
    near = did_you_mean(text, _names(pods, nodes))
    raise Wrong(f"is {text}, and no Pod or Node is called so{'; ' if near else ''}{near}", hint=_known(pods, nodes))


def points(pods: Sequence[Pod], nodes: Sequence[Node], text: str) -> str:
    """A capture's selector (`emu.capture.points`) of what a script says: `client:eth0`, `app=nginx`, `node?:cni0`."""
    place, colon, ifname = text.partition(":")
    names = [each.metadata.name for each in nodes]
    if "*" in place or "?" in place:
        of_pods = "/" not in place and place != "*" and not any(fnmatchcase(each, place) for each in names)
        return f"default/{text}" if of_pods else text
    if selector(place) or matching(pods, place):
        return where(pods, nodes, place) + colon + ifname
    return text


def split_url(text: str) -> tuple[str, str, str]:
    """`http://web:80/x` → http://, web, :80/x. http where no scheme is given."""
    scheme, has_scheme, rest = text.rpartition("://")
    end = next((at for at, each in enumerate(rest) if each in ":/?#"), len(rest))
    return f"{scheme if has_scheme else 'http'}://", rest[:end], rest[end:] or "/"


def split_port(text: str) -> tuple[str, str]:
    """`web:80` → web, :80. An IPv6 address stays whole."""
    if text.count(":") != 1 or text.startswith("["):
        return text, ""
    name, _, port = text.partition(":")
    return name, f":{port}"


def _names(pods: Iterable[Pod], nodes: Iterable[Node]) -> Iterator[str]:
    yield from (key(each).removeprefix("default/") for each in pods)
    yield from (each.metadata.name for each in nodes)


def _known(pods: Iterable[Pod], nodes: Iterable[Node]) -> str:
    shown = [name for name in _names(pods, nodes) if not name.startswith("kube-system/")]
    return f"there are {', '.join(shown[:12])}{' …' if len(shown) > 12 else ''}"


def _labelled(pods: Iterable[Pod]) -> str:
    found = {
        f"{name}={value}"
        for each in pods
        for name, value in each.metadata.labels.items()
        if name != "pod-template-hash" and each.metadata.namespace != "kube-system"
    }
    return f"there are {', '.join(sorted(found))}" if found else ""
