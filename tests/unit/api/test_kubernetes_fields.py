"""Our classes against the names of the Kubernetes API."""

from dataclasses import is_dataclass
from pathlib import Path

import pytest
import yaml

from emu.api import codec, objects

REFERENCE = yaml.safe_load(Path(__file__).with_name("kubernetes_fields.yaml").read_text())
CLASSES = sorted(name for name, each in vars(objects).items() if isinstance(each, type) and is_dataclass(each))


def test_every_class_is_in_the_reference():
    assert set(CLASSES) == set(REFERENCE)


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_kubernetes_is_kept_ignored_or_refused_and_no_other_is(name):
    cls = getattr(objects, name)
    kept = set(codec.json_names(cls).values())
    ignored, refused = set(getattr(cls, "IGNORED", ())), set(getattr(cls, "REFUSED", ()))
    assert kept | ignored | refused == set(REFERENCE[name].split())
    assert not kept & ignored and not kept & refused and not ignored & refused


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_refused_has_a_reason(name):
    assert all(getattr(getattr(objects, name), "REFUSED", {}).values())
