"""A model server of nothing but the standard library: no metrics, and it remembers what it was sent."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Engine:
    """Serves one model. `key`: what `Authorization: Bearer` must say. `fail`: status of every generation request.
    `host`: address to listen on. `tls`: certificate and key to speak TLS with. `page`: its metrics page, if it has one.
    """

    model: str = "bare/model"
    key: str | None = None
    fail: int | None = None
    host: str = "127.0.0.1"
    tls: tuple[str, str] | None = None
    page: bytes | None = None
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Engine:
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                engine.seen.append(Seen(self.command, self.path, headers, body))
                if engine.key and headers.get("authorization") != f"Bearer {engine.key}":
                    self.answer(401, {"error": {"message": "no"}})
                elif self.path == "/v1/models":
                    self.answer(200, {"object": "list", "data": [{"id": engine.model, "object": "model"}]})
                elif self.path == "/metrics" and engine.page is not None:
                    self.send_response(200)
                    self.send_header("content-length", str(len(engine.page)))
                    self.end_headers()
                    self.wfile.write(engine.page)
                elif self.path == "/health":
                    self.answer(200, {})
                elif self.command == "POST" and self.path != "/metrics":
                    self.answer(engine.fail or 200, {"object": "answer", "length": len(body)})
                else:
                    self.answer(404, {"error": {"message": "no such page"}})

            do_GET = do_POST = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            address_family = socket.AF_INET6 if ":" in self.host else socket.AF_INET

        self.server = Server((self.host, 0), Handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{'https' if self.tls else 'http'}://{shown}:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def posts(self, path: str) -> list[Seen]:
        return [one for one in self.seen if one.method == "POST" and one.path == path]
