"""Every handler by its name in images.yaml, those that another server process serves included."""

from __future__ import annotations

from emu.workloads.handler import BadArguments, Handler, Port, Served, SocketAddress
from emu.workloads.http import BadRequest, Request, Response
from emu.workloads.netexec import Netexec
from emu.workloads.nginx import Hello


class Pause:
    """Nothing listens, nothing is answered."""

    def ports(self, argv: tuple[str, ...]) -> tuple[Port, ...]:
        return ()

    def bind_failed(self, port: Port, error: OSError) -> str:
        return str(error)

    def started(self, served: Served) -> None:
        """The real one says nothing either."""

    def http(self, served: Served, request: Request, server: SocketAddress, client: SocketAddress) -> Response:
        return Response(status=404)

    def bad(self, served: Served, error: BadRequest, client: SocketAddress) -> Response:
        return Response(status=error.status, close=True)

    def datagram(self, served: Served, data: bytes, client: SocketAddress) -> bytes | None:
        return None


class Coredns(Pause):
    """Its ports alone: `emu.dnsserver` serves them. `upstream` is for the questions it forwards."""

    def ports(self, argv: tuple[str, ...]) -> tuple[Port, ...]:
        if len(argv) not in (0, 2) or (argv and argv[0] != "-conf"):
            raise BadArguments(f"flag provided but not defined: {argv[0]}")
        return (
            Port("udp", "udp", 53),
            Port("tcp", "tcp", 53),
            Port("upstream", "udp", 0),
            Port("health", "tcp", 8080),
            Port("ready", "tcp", 8181),
            Port("metrics", "tcp", 9153),
        )

    def bind_failed(self, port: Port, error: OSError) -> str:
        what = (error.strerror or str(error)).lower()
        return f"Listen: listen {port.kind} :{port.number}: bind: {what}"


HANDLERS: dict[str, Handler] = {
    "hello": Hello(),
    "hello-plain-text": Hello(plain_text=True),
    "netexec": Netexec(),
    "pause": Pause(),
    "coredns": Coredns(),
}
