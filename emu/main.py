"""The composition root: the console script `emu`, and what a lab's first process is made of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.cli.main import run

if TYPE_CHECKING:
    from emu.api.load import Loaded
    from emu.api.topology import Topology
    from emu.kernel.sandbox import Sandbox


def lab(topology: Topology, loaded: Loaded) -> Callable[[Sandbox], None]:
    """What runs inside. Imported before the fork that makes the lab, so that errors of an installation show at once."""
    from emu.apiserver.server import serve
    from emu.testbed import lab as inside

    return lambda sandbox: inside.main(sandbox, topology, loaded, serve)


def main() -> None:
    sys.exit(run(lab))


if __name__ == "__main__":
    main()
