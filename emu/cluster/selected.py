"""Which Pods a selector selects, without looking at every Pod for every selector."""

from __future__ import annotations

from collections.abc import Sequence

from emu.api.objects import Labels, Objects, Pod
from emu.cluster.objectmap import AT_ONCE, all_of
from emu.cluster.selectors import has_all
from emu.memo import by_identity


class Selected:
    """Pods by namespace and label. A selector looks only at the fewest Pods one of its labels leaves."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self._pods: dict[tuple[str, str, str], list[Pod]] = {}
        for pod in pods:
            for label, value in pod.metadata.labels.items():
                self._pods.setdefault((pod.metadata.namespace, label, value), []).append(pod)

    def by(self, namespace: str, selector: Labels) -> Sequence[Pod]:
        """In the order of the objects. `selector` must not be empty."""
        some = min((self._pods.get((namespace, *item), []) for item in selector.items()), key=len)
        return some if len(selector) == 1 else [pod for pod in some if has_all(selector, pod.metadata.labels)]


_selected = by_identity(Selected, size=AT_ONCE)


def of(objects: Objects) -> Selected:
    return _selected(all_of(objects, Pod))
