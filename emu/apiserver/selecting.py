"""labelSelector and fieldSelector of a list or watch, as their texts in a URL."""

from __future__ import annotations

import re
from collections.abc import Callable

from emu.api.objects import KubeObject, LabelSelector, LabelSelectorRequirement
from emu.apiserver.status import ApiError
from emu.cluster import selectors

Chosen = Callable[[KubeObject], bool]

_KEY = r"(?P<key>[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?)"
_FORMS = tuple(
    (re.compile(pattern), operator)
    for pattern, operator in (
        (rf"{_KEY}\s+in\s*\((?P<many>[^()]*)\)", "In"),
        (rf"{_KEY}\s+notin\s*\((?P<many>[^()]*)\)", "NotIn"),
        (rf"{_KEY}\s*==?\s*(?P<one>[^=!<>(),\s]*)", "In"),
        (rf"{_KEY}\s*!=\s*(?P<one>[^=!<>(),\s]*)", "NotIn"),
        (rf"!\s*{_KEY}", "DoesNotExist"),
        (_KEY, "Exists"),
    )
)

#: What fieldSelector can name. Every kind has the metadata, the others are a Pod's.
_FIELDS: dict[str, Callable[[KubeObject], object]] = {
    "metadata.name": lambda obj: obj.metadata.name,
    "metadata.namespace": lambda obj: obj.metadata.namespace,
    "spec.nodeName": lambda obj: getattr(getattr(obj, "spec", None), "node_name", ""),
    "status.phase": lambda obj: getattr(getattr(obj, "status", None), "phase", ""),
    "status.podIP": lambda obj: getattr(getattr(obj, "status", None), "pod_ip", ""),
}


def chosen(label_selector: str, field_selector: str) -> Chosen:
    labels, fields = parse_labels(label_selector), _parse_fields(field_selector)
    return lambda obj: selectors.matches(labels, obj.metadata.labels) and all(test(obj) for test in fields)


def parse_labels(text: str) -> LabelSelector:
    """`app=web,tier!=db,env in (a,b),!old`, an empty text selects everything."""
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text)] if text.strip() else []
    return LabelSelector(match_expressions=tuple(_requirement(part, text) for part in parts))


def _requirement(part: str, text: str) -> LabelSelectorRequirement:
    for form, operator in _FORMS:
        if found := form.fullmatch(part):
            groups = found.groupdict()
            many = groups.get("many")
            values = many.split(",") if many is not None else [one] if (one := groups.get("one")) is not None else []
            return LabelSelectorRequirement(
                key=found["key"], operator=operator, values=tuple(value.strip() for value in values)
            )
    raise ApiError(
        400, "BadRequest", f'unable to parse label selector "{text}": "{part}"', hint="for example -l app=web,tier!=db"
    )


def _parse_fields(text: str) -> list[Chosen]:
    return [_field(part.strip(), text) for part in text.split(",")] if text.strip() else []


def _field(part: str, text: str) -> Chosen:
    found = re.fullmatch(r"([\w.]+)\s*(!=|==?)\s*(.*)", part)
    if not found or found[1] not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise ApiError(
            400, "BadRequest", f'field selector "{text}": field label not supported: {part}', hint=f"known: {known}"
        )
    value_of, wanted, negated = _FIELDS[found[1]], found[3], found[2] == "!="
    return lambda obj: (value_of(obj) == wanted) != negated
