"""Short manifests for the tests: a document of each kind, to be changed in one place."""

import pytest

from emu.api import load
from emu.errors import InputError


def loaded(text):
    return load.parse_manifests(text, "web.yaml")


def only(text):
    (obj,) = loaded(text).objects
    return obj


def refused(text):
    """The message of the InputError for `text`."""
    with pytest.raises(InputError) as caught:
        loaded(text)
    return str(caught.value)


def service(spec, name="web"):
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def pod(container="", spec="", name="web"):
    """Line 6 is the container's."""
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n"
        f"    - {{name: c, image: nginx{', ' if container else ''}{container}}}\n{f'  {spec}' if spec else ''}\n"
    )


def deployment(labels="{app: web}", selector="{matchLabels: {app: web}}", spec=""):
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
        f"  selector: {selector}\n{f'  {spec}' if spec else '  replicas: 2'}\n"
        f"  template:\n    metadata: {{labels: {labels}}}\n    spec: {{containers: [{{name: c, image: nginx}}]}}\n"
    )
