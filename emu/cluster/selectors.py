"""Label selectors, with Kubernetes' meaning of every operator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from emu.api.objects import LabelSelector, LabelSelectorRequirement

Labels = Mapping[str, str]

#: NotIn and DoesNotExist also match when the key is missing. Source: apimachinery pkg/labels/selector.go, Matches.
OPERATORS: Mapping[str, Callable[[Labels, str, Collection[str]], bool]] = {
    "In": lambda labels, key, values: key in labels and labels[key] in values,
    "NotIn": lambda labels, key, values: key not in labels or labels[key] not in values,
    "Exists": lambda labels, key, values: key in labels,
    "DoesNotExist": lambda labels, key, values: key not in labels,
}


def matches(selector: LabelSelector | Labels | None, labels: Labels) -> bool:
    """None selects nothing, an empty selector everything (of its namespace)."""
    if selector is None:
        return False
    if isinstance(selector, LabelSelector):
        return has_all(selector.match_labels, labels) and all(
            _requirement(requirement, labels) for requirement in selector.match_expressions
        )
    return has_all(selector, labels)


def has_all(wanted: Labels, labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _requirement(requirement: LabelSelectorRequirement, labels: Labels) -> bool:
    return OPERATORS[requirement.operator](labels, requirement.key, requirement.values)
