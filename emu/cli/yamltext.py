"""YAML as kubectl writes it (sigs.k8s.io/yaml): sorted keys, lists not indented, double quotes where a plain text
would be read as something else."""

from __future__ import annotations

from typing import Any

import yaml

_BOOLEANS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false"))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    resolved = dumper.resolve(yaml.ScalarNode, value, (True, False))
    if resolved != "tag:yaml.org,2002:str" or value.lower() in _BOOLEANS:
        style = '"'
    else:
        style = "|" if "\n" in value and not value.startswith((" ", "\n")) and " \n" not in value else ""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style or None)


_Dumper.add_representer(str, _string)


def as_yaml(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=1 << 30)
    return text
