"""Label and field selectors mean what they mean in Kubernetes."""

from __future__ import annotations

import pytest

from emu.api.objects import Namespace, ObjectMeta
from emu.apiserver.selecting import chosen
from emu.apiserver.status import ApiError


def obj(name="web", **labels):
    return Namespace(metadata=ObjectMeta(name=name, labels=labels))


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app=web", {"app": "db"}, False),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": ""}, False),
        ("app in (a, b)", {"app": "b"}, True),
        ("app notin (a,b)", {"app": "b"}, False),
        ("app notin (a,b)", {}, True),
        ("app in (a,b),tier=x", {"app": "a", "tier": "x"}, True),
        ("app in (a,b),tier=x", {"app": "a", "tier": "y"}, False),
        ("app=", {"app": ""}, True),
        ("example.com/app=a.b_c-d", {"example.com/app": "a.b_c-d"}, True),
    ],
)
def test_labels(selector, labels, selected):
    assert chosen(selector, "")(obj(**labels)) is selected


@pytest.mark.parametrize("text", ["app=web,,", "=x", "app in a", "a b"])
def test_nonsense_is_refused_with_an_example(text):
    with pytest.raises(ApiError) as caught:
        chosen(text, "")
    assert caught.value.code == 400
    assert "for example" in caught.value.hint


def test_fields_select_by_name():
    assert chosen("", "metadata.name=web")(obj("web"))
    assert not chosen("", "metadata.name!=web")(obj("web"))


def test_a_field_nobody_can_select_by_is_refused_naming_those_one_can():
    with pytest.raises(ApiError, match="field label not supported"):
        chosen("", "spec.color=red")
