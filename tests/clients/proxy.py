"""A place between client and server that keeps what passes, and can send it again: TLS with the server's own
certificate, so that clients take it for the server."""

import socket
import ssl
import threading


def read_message(stream):
    """A message of HTTP with Content-Length, as bytes; empty at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return head + stream.read(length)


class Proxy:
    """`requests`: all that passed. With `twice`, each goes to the server twice, and the second answer back."""

    def __init__(self, server, ca, certificate, key):
        self.server, self.ca, self.twice, self.requests = server, ca, False, []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.pass_on, args=(connection,), daemon=True).start()

    def pass_on(self, connection):
        try:
            with self.context.wrap_socket(connection, server_side=True) as client, client.makefile("rb") as stream:
                while request := read_message(stream):
                    self.requests.append(request)
                    answer = self.send(request)
                    client.sendall(self.send(request) if self.twice else answer)
        except OSError:
            pass  # The client went away.

    def send(self, request):
        """The server's answer, on a connection of its own."""
        host, port = self.server.rsplit(":", 1)
        context = ssl.create_default_context(cafile=self.ca)
        with socket.create_connection((host, int(port)), timeout=30) as plain:
            with context.wrap_socket(plain, server_hostname=host) as server, server.makefile("rb") as stream:
                server.sendall(request)
                return read_message(stream)
