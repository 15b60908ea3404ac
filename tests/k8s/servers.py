"""Neighbours of the image under test: apps that stream events, and a name server."""

import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


class App(BaseHTTPRequestHandler):
    """Sends one event that repeats the path, and holds the stream until the server ends."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        event = f"data: {self.path}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.server.ended.wait()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """Says nothing of a client that leaves, or that does not trust it: here that is expected."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Names(socketserver.BaseRequestHandler):
    """Answers one question of the domain name system."""

    def handle(self):
        query, asked = self.request
        asked.sendto(answer(query, self.server.names), self.client_address)


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serves in a thread for as long as the context lasts."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def app(port: int, authority: trustme.CA | None = None, name: str = "") -> Iterator[None]:
    """An app on loopback, over TLS when there is an authority that vouches for `name`."""
    server = Server(("127.0.0.1", port), App)
    server.daemon_threads, server.block_on_close = True, False
    server.ended = threading.Event()
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        # The handshake belongs to the connection's own thread: a refused one must not end the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        yield
        server.ended.set()


@contextmanager
def name_server(names: set[str]) -> Iterator[None]:
    """Says that these names, and no others, are at 127.0.0.1."""
    server = socketserver.UDPServer(("127.0.0.1", 53), Names)
    server.names = names
    with serving(server):
        yield


def answer(query: bytes, names: set[str]) -> bytes:
    """As of RFC 1035: an address of IPv4, nothing of IPv6, or that there is no such name."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    known = ".".join(labels).lower() in names
    records = b""
    if known and kind == 1:
        records = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    flags = 0x8180 if known else 0x8183
    return query[:2] + struct.pack("!HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records
