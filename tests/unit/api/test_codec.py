"""Objects to JSON and back."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from api_manifests import deployment, only, pod, service
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.api import codec, objects
from emu.api.objects import Container, ContainerState, ContainerStateRunning, ContainerStatus, Deployment, Pod, Service
from emu.errors import InputError

TEXT = st.text("ab/1", min_size=1, max_size=3)
SCALARS = {str: TEXT, int: st.integers(0, 9), bool: st.booleans()}


def values(hint: Any) -> st.SearchStrategy:
    """Any value of a type hint."""
    if hint in SCALARS:
        return SCALARS[hint]
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{each.name: values(hints[each.name]) for each in fields(hint)})
    args = get_args(hint)
    if get_origin(hint) is tuple:
        return st.lists(values(args[0]), max_size=1).map(tuple)
    if type(None) in args:
        of = values(next(arg for arg in args if arg is not type(None)))
        return st.none() | of.filter(lambda value: value != {})
    if args and set(args) == {int, str}:
        return SCALARS[int] | TEXT
    return st.dictionaries(TEXT, TEXT, max_size=1)


@pytest.mark.parametrize("cls", objects.KINDS)
def test_decode_undoes_encode(cls):
    @settings(max_examples=15, deadline=None)
    @given(values(cls))
    def check(obj):
        assert codec.decode_json(cls, codec.encode(obj)) == obj

    check()


@pytest.mark.parametrize("text", [pod(), deployment(), service("{clusterIP: None}")])
def test_encode_undoes_decode(text):
    obj = only(text)
    assert codec.decode_json(type(obj), codec.encode(obj)) == obj


def test_type_comes_first_and_what_is_not_set_is_left_out():
    coded = codec.encode(only(service("{ports: [{port: 80, targetPort: http}]}")))
    assert list(coded)[:2] == ["apiVersion", "kind"]
    assert coded["metadata"] == {"name": "web", "namespace": "default"}
    assert coded["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": "http"}]
    assert "status" not in coded


def test_no_replicas_is_said_and_so_is_a_container_that_runs():
    assert codec.encode(only(deployment(spec="replicas: 0")))["spec"]["replicas"] == 0
    state = ContainerState(running=ContainerStateRunning())
    coded = codec.encode(ContainerStatus(name="c", state=state))
    assert (coded["state"], coded["ready"], coded["restartCount"]) == ({"running": {}}, False, 0)


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (Pod, {"kind": "Service"}, "Service: kind is Service, must be Pod"),
        (Pod, {"metadata": {"name": "a"}}, "spec is missing"),
        (Service, {"kind": "Service", "metadata": {"name": "a"}, "spec": {"typ": 1}},
         "Service default/a: spec.typ is not"),
        (Container, [], "is a list, must be a mapping"),
        (Deployment, {"metadata": {"labels": {"a.b/c": 1}}}, 'metadata.labels["a.b/c"] is the number 1'),
    ],
)  # fmt: skip
def test_json_is_checked_as_yaml_is_but_has_no_lines(cls, data, message):
    with pytest.raises(InputError) as caught:
        codec.decode_json(cls, data)
    assert str(caught.value).startswith(message)
