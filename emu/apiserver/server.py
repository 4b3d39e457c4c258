"""The testbed's two sockets: api.sock speaks Kubernetes' REST, attach.sock takes file descriptors."""

from __future__ import annotations

import socket

from emu.apiserver import attach, routes
from emu.apiserver.http import HttpServer
from emu.apiserver.testbed import Testbed


def serve(api: socket.socket, attached: socket.socket, testbed: Testbed) -> None:
    """Serve in threads; returns at once."""
    HttpServer(api, routes.route(testbed)).start()
    attach.start(attached, testbed)
