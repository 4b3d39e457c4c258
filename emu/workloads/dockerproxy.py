"""docker-proxy, Docker's userland proxy: one process for each published port, between the host and a container.

It serves whom no DNAT rule does: a program of the host that asks 127.0.0.1, and containers that ask for the host's own
port. The container sees the host's address on docker0. A program of its own: it is written into a Node's /run and run
there by the machine's python3, so it imports nothing of this package.

Source: moby/moby cmd/docker-proxy (flags; TCP half-closing; UDP clients forgotten after 90 s).
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
import time

UDP_FORGOTTEN_S = 90.0
CHUNK = 65536

Address = tuple[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(prog="docker-proxy", allow_abbrev=False)
    parser.add_argument("-proto", choices=("tcp", "udp"), default="tcp")
    parser.add_argument("-host-ip", required=True)
    parser.add_argument("-host-port", type=int, required=True)
    parser.add_argument("-container-ip", required=True)
    parser.add_argument("-container-port", type=int, required=True)
    given = parser.parse_args()
    serve = tcp if given.proto == "tcp" else udp
    serve((given.host_ip, given.host_port), (given.container_ip, given.container_port))


def tcp(front: Address, back: Address) -> None:
    listener = socket.create_server(front, backlog=128)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_connect, args=(client, back), daemon=True).start()


def _connect(client: socket.socket, back: Address) -> None:
    with client:
        try:
            server = socket.create_connection(back)
        except OSError:
            return  # the client's connection is closed
        with server:
            answering = threading.Thread(target=_copy, args=(server, client), daemon=True)
            answering.start()
            _copy(client, server)
            answering.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Until the source says that it is done; then so is the sink told."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def udp(front: Address, back: Address) -> None:
    """One socket towards the container for each client, so that answers find their way."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(front)
    flows: dict[Address, socket.socket] = {}
    while True:
        data, client = listener.recvfrom(CHUNK)
        flow = flows.get(client)
        if flow is None or flow.fileno() < 0:
            flow = flows[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            flow.connect(back)
            threading.Thread(target=_answers, args=(flow, listener, client), daemon=True).start()
        with contextlib.suppress(OSError):
            flow.send(data)


def _answers(flow: socket.socket, listener: socket.socket, client: Address) -> None:
    flow.settimeout(UDP_FORGOTTEN_S)
    with flow:
        last = time.monotonic()
        while time.monotonic() - last < UDP_FORGOTTEN_S:
            try:
                listener.sendto(flow.recv(CHUNK), client)
            except ConnectionRefusedError:
                continue  # the container has no such socket yet
            except OSError:
                return
            last = time.monotonic()


if __name__ == "__main__":
    main()
