"""The program `kube-emu-cni`: environment and stdin in, JSON on stdout out, what it does on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping

from emu.api.conflist import VERSIONS
from emu.errors import EmuError


def main() -> None:
    sys.exit(call(os.environ, sys.stdin.read(), print))


def call(environment: Mapping[str, str], text: str, say: Callable[[str], None]) -> int:
    """The exit status."""
    if environment.get("CNI_COMMAND") == "VERSION":
        say(json.dumps({"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}))
        return 0
    from emu.cniplugin import joining, request  # all else is a hundred modules, and runtimes ask for the version first
    from emu.cniplugin.request import Refused

    commands = {
        "ADD": joining.add,
        "DEL": joining.delete,
        "CHECK": joining.check,
        "STATUS": joining.status,
        "GC": joining.collect,
    }
    try:
        asked = request.parse(environment, text)
        answer = commands[asked.command](asked, environment)
    except Refused as refused:
        error = {"code": refused.code, "msg": refused.message, "details": refused.details}
    except EmuError as failed:
        error = {"code": joining.code_of(failed), "msg": failed.message, "details": failed.hint}
    else:
        if answer is not None:
            say(json.dumps(answer, indent=2))
        return 0
    say(json.dumps({"cniVersion": request.version_of(text), **error}, indent=2))
    return 1


if __name__ == "__main__":
    main()
