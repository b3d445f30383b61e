"""A collector that takes everything: `python sink.py PORT`. Reads POST bodies and answers 200 with an empty message.

Bare sockets, one thread, connections in turn of arrival: it must cost next to nothing beside what it is sent.
Prints `ready` once it listens; ends by itself after 15 minutes, or by SIGTERM.
"""

import selectors
import socket
import sys
import time

LIFE = 900.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def serve(port: int) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    wanted: dict[socket.socket, int] = {}  # bytes of the body that are still to come
    heads: dict[socket.socket, bytes] = {}
    end = time.monotonic() + LIFE
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                selector.register(connection, selectors.EVENT_READ)
                wanted[connection], heads[connection] = 0, b""
                continue
            connection = key.fileobj
            try:
                data = connection.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                selector.unregister(connection)
                connection.close()
                del wanted[connection], heads[connection]
                continue
            if wanted[connection]:
                wanted[connection] -= len(data)
            else:
                heads[connection] += data
                head, found, body = heads[connection].partition(b"\r\n\r\n")
                if not found:
                    continue
                heads[connection] = b""
                wanted[connection] = _length(head) - len(body)
                if b"100-continue" in head.lower():
                    connection.sendall(CONTINUE)
            if wanted[connection] <= 0:
                wanted[connection] = 0
                connection.sendall(ANSWER)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    serve(int(sys.argv[1]))
