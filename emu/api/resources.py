"""The kinds as the REST API and kubectl name them: plural, singular, short names, paths. Quick to import."""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError


@dataclass(frozen=True, slots=True)
class Resource:
    kind: str
    plural: str
    short: tuple[str, ...] = ()
    group: str = ""  # "": the core group
    namespaced: bool = True
    in_all: bool = False  # of `kubectl get all`
    scalable: bool = False

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def qualified(self) -> str:
        """`deployment.apps`: how kubectl calls an object that it speaks of."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def qualified_plural(self) -> str:
        """`deployments.apps`: how the API server does."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of a list, of a namespace's list, of one object."""
        root = f"/apis/{self.api_version}" if self.group else "/api/v1"
        inside = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")


RESOURCES = (
    Resource("Endpoints", "endpoints", ("ep",)),
    Resource("Namespace", "namespaces", ("ns",), namespaced=False),
    Resource("Node", "nodes", ("no",), namespaced=False),
    Resource("Pod", "pods", ("po",), in_all=True),
    Resource("Service", "services", ("svc",), in_all=True),
    Resource("DaemonSet", "daemonsets", ("ds",), group="apps", in_all=True),
    Resource("Deployment", "deployments", ("deploy",), group="apps", in_all=True, scalable=True),
    Resource("ReplicaSet", "replicasets", ("rs",), group="apps", in_all=True, scalable=True),
    Resource("EndpointSlice", "endpointslices", group="discovery.k8s.io"),
)

BY_KIND = {each.kind: each for each in RESOURCES}


def names(resource: Resource) -> tuple[str, ...]:
    """All the names a user may type."""
    plain = (resource.plural, resource.singular, *resource.short)
    return plain + tuple(f"{each}.{resource.group}" for each in plain[:2] if resource.group)


BY_NAME = {name: each for each in RESOURCES for name in names(each)}


def of_name(name: str) -> Resource:
    """Raises InputError, in kubectl's words, for a name no kind has."""
    found = BY_NAME.get(name.lower())
    if found is None:
        known = ", ".join(each.plural for each in RESOURCES)
        raise InputError(f'the server doesn\'t have a resource type "{name}"', hint=f"there are {known}")
    return found
