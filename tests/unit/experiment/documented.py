"""The examples of docs/experiments.md, as steps that can be run one after another."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TOPOLOGY = ROOT / "topologies" / "two-node-flannel-vxlan"
_BLOCK = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.M | re.S)
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.M | re.S)


def examples() -> dict[str, str]:
    """The section's title → its steps."""
    text = (ROOT / "docs" / "experiments.md").read_text()
    found = {title: "".join(_YAML.findall(body)) for title, body in _BLOCK.findall(text)}
    return {title: steps for title, steps in found.items() if steps}


def script(steps: str) -> str:
    return f"topology: {TOPOLOGY}\nsteps:\n{steps}"
