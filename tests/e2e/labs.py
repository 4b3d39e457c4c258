"""Labs for tests: a function is called inside a lab, in the lab's own process."""

from __future__ import annotations

import faulthandler
import pickle
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from emu.api import load
from emu.api.load import Loaded
from emu.api.topology import Topology
from emu.kernel import sandbox
from emu.testbed import lab
from emu.testbed.facade import Testbed

TWO_NODES = Path(__file__).parents[2] / "topologies" / "two-node-flannel-vxlan"
LONGEST_S = 25

Inside = Callable[[Testbed], Any]


class Labs:
    """Call it with the function to run inside. `manifests` (YAML) replaces the topology's own; `changes` are fields
    of the topology, as `nodes` or `dns`. The function may be a closure: the lab's process is a fork."""

    def __init__(self, directory: Path, longest_s: float = LONGEST_S) -> None:
        self.directory, self.longest_s = directory, longest_s

    def __call__(
        self, function: Inside, *, manifests: str | None = None, topology: Path = TWO_NODES, **changes: Any
    ) -> Any:
        topo, loaded = load.testbed(topology)
        if manifests is not None:
            loaded = load.parse_manifests(manifests, "manifests.yaml")
        with tempfile.TemporaryFile() as outcome:
            self._launch(replace(topo, **changes), loaded, function, outcome)
            outcome.seek(0)
            raw = outcome.read()
        assert raw, "the lab ended before the test's function did"
        result, failure = pickle.loads(raw)
        assert not failure, f"in the lab:\n{failure}"
        return result

    def _launch(self, topo: Topology, loaded: Loaded, function: Inside, outcome: IO[bytes]) -> None:
        def main(inside: sandbox.Sandbox) -> None:
            faulthandler.dump_traceback_later(self.longest_s, exit=True, file=2)

            def serve(_api: object, _attach: object, testbed: Testbed) -> None:
                inside.ready()
                pickle.dump(_outcome(function, testbed), outcome)
                outcome.flush()
                inside.stop()

            lab.main(inside, topo, loaded, serve)

        sandbox.launch(topo.name, self.directory, main, foreground=True)


def _outcome(function: Inside, testbed: Testbed) -> tuple[Any, str]:
    try:
        return function(testbed), ""
    except BaseException:
        return None, traceback.format_exc()
