"""Deployments → ReplicaSets, by rolling update with Kubernetes' default pace: 25 % more Pods than asked for (rounded
up), 25 % fewer available ones (rounded down).

The ReplicaSet of a template is `<deployment>-<pod-template-hash>`. A new template makes a new one, which grows as far
as the surge allows; the old ones shrink, unavailable Pods first, as far as enough Pods stay available. Each resolve
takes every step that the readiness seen so far allows; the next change of readiness takes the next one. A template that
comes back finds its old ReplicaSet. Ten old ones are kept.
Source: kubernetes pkg/controller/deployment/rolling.go, util/deployment_util.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from emu import names
from emu.api.objects import (
    Deployment,
    Key,
    KubeObject,
    LabelSelector,
    ObjectMeta,
    Objects,
    Pod,
    PodTemplateSpec,
    ReplicaSet,
    ReplicaSetSpec,
    key_of,
)
from emu.api.topology import Topology
from emu.cluster.lifecycle import controlled_by, is_active, is_ready
from emu.cluster.objectmap import by_owner, changed, of_kind, owner_uid
from emu.cluster.passes.stamp import stamped
from emu.memo import by_identity

HASH_LABEL = "pod-template-hash"
NEWER = frozenset({"host_port", "service_account_name", "priority_class_name", "priority"})
REVISION = "deployment.kubernetes.io/revision"
HISTORY_LIMIT = 10  # revisionHistoryLimit


def deployments(topology: Topology, objects: Objects, now: str) -> Objects:
    sets = by_owner(objects, ReplicaSet)
    pods = by_owner(objects, Pod)
    puts: list[KubeObject] = []
    deletes: list[Key] = []
    for deployment in of_kind(objects, Deployment):
        owned = sets.get(deployment.metadata.uid, [])
        if _is_settled(deployment, *owned, *(pod for each in owned for pod in pods.get(each.metadata.uid, ()))):
            continue
        kept, gone = _decided(topology.seed, deployment, owned, pods, now)
        puts += kept
        deletes += map(key_of, gone)
    return changed(objects, puts, deletes)


def _decided(
    seed: int, deployment: Deployment, owned: Sequence[ReplicaSet], pods: Mapping[str, list[Pod]], now: str
) -> tuple[list[KubeObject], list[ReplicaSet]]:
    """What there is to be, the Deployment last, and the ReplicaSets that go."""
    wanted = _sets(seed, deployment, owned, pods, now)
    kept = wanted[:1] + _history(wanted[1:], pods)
    return [*kept, _revised(deployment, kept[0])], [old for old in wanted if old not in kept]


@by_identity
def _is_settled(deployment: Deployment, *parts: ReplicaSet | Pod) -> bool:
    """Whether its ReplicaSets, given with their Pods, are what they are to be."""
    owned = [each for each in parts if isinstance(each, ReplicaSet)]
    pods: dict[str, list[Pod]] = {}
    for each in parts:
        if isinstance(each, Pod):
            pods.setdefault(owner_uid(each), []).append(each)
    kept, gone = _decided(0, deployment, owned, pods, "")
    return not gone and set(map(id, kept)) <= {*map(id, owned), id(deployment)}


def _sets(
    seed: int, deployment: Deployment, owned: Sequence[ReplicaSet], pods: Mapping[str, list[Pod]], now: str
) -> list[ReplicaSet]:
    """The ReplicaSet of the current template, then the old ones, oldest first, each at its wanted size."""
    name = f"{deployment.metadata.name}-{template_hash(deployment.spec.template)}"
    old = sorted((each for each in owned if each.metadata.name != name), key=revision)
    new = next((each for each in owned if each.metadata.name == name), None)
    newest = max((revision(each) for each in old), default=0)
    if new is None:
        made = stamped(seed, _replica_set(deployment, name, newest + 1), now)
        first, *rest = _paced(deployment.spec.replicas, made, old, pods)
        return [replace(first, metadata=made.metadata), *rest]  # made at its size: still the first generation
    if revision(new) <= newest:
        new = replace(new, metadata=_with_revision(new.metadata, newest + 1))
    return _paced(deployment.spec.replicas, new, old, pods)


@by_identity
def template_hash(template: PodTemplateSpec) -> str:
    """Ten digits at most in the safe alphabet, as Kubernetes writes its 32-bit hash of a template."""
    text = json.dumps(asdict(template, dict_factory=_hashed), sort_keys=True, default=str)
    number = int.from_bytes(names.digest("template", text)[:4], "big")
    alphabet = names.SUFFIX_ALPHABET
    return "".join(alphabet[ord(digit) % len(alphabet)] for digit in str(number))


def _hashed(fields: Iterable[tuple[str, object]]) -> dict[str, object]:
    """A field the API got later does not count where it is not given, so that Pods keep the names they had."""
    return {name: value for name, value in fields if name not in NEWER or value}


def _replica_set(deployment: Deployment, name: str, number: int) -> ReplicaSet:
    spec, meta = deployment.spec, deployment.metadata
    own = {HASH_LABEL: template_hash(spec.template)}
    template = spec.template
    return ReplicaSet(
        metadata=ObjectMeta(
            namespace=meta.namespace,
            name=name,
            labels={**template.metadata.labels, **own},
            annotations={REVISION: str(number)},
            owner_references=controlled_by(deployment),
        ),
        spec=ReplicaSetSpec(
            replicas=0,
            selector=LabelSelector(
                match_labels={**spec.selector.match_labels, **own}, match_expressions=spec.selector.match_expressions
            ),
            template=replace(template, metadata=replace(template.metadata, labels={**template.metadata.labels, **own})),
        ),
    )


def _paced(
    replicas: int, new: ReplicaSet, old: Sequence[ReplicaSet], pods: Mapping[str, list[Pod]]
) -> list[ReplicaSet]:
    live = [each for each in old if each.spec.replicas]
    if not live:
        return [scaled(new, replicas), *old]
    most, least = replicas + -(-replicas // 4), replicas - replicas // 4
    total = new.spec.replicas + sum(each.spec.replicas for each in live)
    grown = min(replicas, new.spec.replicas + max(0, most - total))
    missing = max(0, grown - available(new, pods))
    removable = max(0, grown - new.spec.replicas + total - least - missing)
    return [scaled(new, grown), *_shrunk(old, removable, least, new, pods)]


def _shrunk(
    old: Sequence[ReplicaSet], removable: int, least: int, new: ReplicaSet, pods: Mapping[str, list[Pod]]
) -> list[ReplicaSet]:
    """Unavailable old Pods cost nothing; available ones go while `least` others stay available."""
    spare = sum(available(each, pods) for each in (new, *old)) - least
    result = []
    for each in old:
        size, ready = each.spec.replicas, available(each, pods)
        broken = min(max(0, size - ready), removable)
        healthy = max(0, min(ready, size - broken, removable - broken, spare))
        removable, spare = removable - broken - healthy, spare - healthy
        result.append(scaled(each, size - broken - healthy))
    return result


def available(owner: ReplicaSet, pods: Mapping[str, list[Pod]]) -> int:
    return sum(is_active(pod) and is_ready(pod) for pod in pods.get(owner.metadata.uid, ()))


def scaled(owner: ReplicaSet, replicas: int) -> ReplicaSet:
    if owner.spec.replicas == replicas:
        return owner
    meta = replace(owner.metadata, generation=owner.metadata.generation + 1)
    return replace(owner, metadata=meta, spec=replace(owner.spec, replicas=replicas))


def revision(owner: ReplicaSet) -> int:
    return int(owner.metadata.annotations.get(REVISION, "0"))


def _with_revision(meta: ObjectMeta, number: int | str) -> ObjectMeta:
    return replace(meta, annotations={**meta.annotations, REVISION: str(number)})


def _revised(deployment: Deployment, current: ReplicaSet) -> Deployment:
    number = current.metadata.annotations[REVISION]
    if deployment.metadata.annotations.get(REVISION) == number:
        return deployment
    return replace(deployment, metadata=_with_revision(deployment.metadata, number))


def _history(old: Sequence[ReplicaSet], pods: Mapping[str, list[Pod]]) -> list[ReplicaSet]:
    """Without the oldest of those that are scaled to nothing and have no Pod left."""
    idle = [each for each in old if not each.spec.replicas and not pods.get(each.metadata.uid)]
    dropped = {id(each) for each in idle[: max(0, len(idle) - HISTORY_LIMIT)]}
    return [each for each in old if id(each) not in dropped]
