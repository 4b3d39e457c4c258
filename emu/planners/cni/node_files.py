"""Files that a CNI's programs leave on each Node, where a person who knows the real system looks for them. They decide
nothing here: a mode's planner says what it wired, and they say the same."""

from __future__ import annotations

from emu.memo import Memo
from emu.plan.model import File, NetnsKind, NetnsPlan

CNI = "/etc/cni/net.d"


def _make_fragment(node: str, texts: tuple[tuple[str, str], ...]) -> NetnsPlan:
    files = tuple(File(path=path, text=text) for path, text in texts)
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, files=files)


#: Of (path, text) pairs.
fragment: Memo[NetnsPlan] = Memo(_make_fragment)
