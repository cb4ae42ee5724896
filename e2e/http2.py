"""One HTTP/2 request with trailers, which no client library sends."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events


@dataclass
class Answer:
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


def post(port: int, path: str, body: bytes, trailers: list[tuple[str, str]], within: float = 20.0) -> Answer:
    """Sends the body in pieces, then trailers, over cleartext HTTP/2 with prior knowledge."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    answer = Answer()
    with socket.create_connection(("127.0.0.1", port), within) as link:
        link.settimeout(within)
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, [
            (":method", "POST"), (":scheme", "http"), (":authority", f"127.0.0.1:{port}"), (":path", path),
            ("content-type", "application/json"), ("te", "trailers"),
        ])
        half = len(body) // 2
        for piece in (body[:half], body[half:]):
            connection.send_data(stream, piece)
        connection.send_headers(stream, trailers, end_stream=True)
        link.sendall(connection.data_to_send())
        while True:
            data = link.recv(65536)
            assert data, "the connection was closed before the answer was complete"
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=headers):
                        answer.headers.update(headers)
                    case h2.events.TrailersReceived(headers=headers):
                        answer.trailers.update(headers)
                    case h2.events.DataReceived(data=piece, flow_controlled_length=length):
                        answer.body += piece
                        connection.acknowledge_received_data(length, stream)
                    case h2.events.StreamEnded():
                        return answer
                    case h2.events.StreamReset(error_code=code) | h2.events.ConnectionTerminated(error_code=code):
                        raise AssertionError(f"the stream was reset: {code}")
            link.sendall(connection.data_to_send())
