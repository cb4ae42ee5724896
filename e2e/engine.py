"""A model server of nothing but the standard library: no metrics, and it remembers what it was sent."""

from __future__ import annotations

import http.server
import json
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
    """Serves one model. `key`: what `Authorization: Bearer` must say. `fail`: status of every generation request."""

    model: str = "bare/model"
    key: str | None = None
    fail: int | None = None
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

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def posts(self, path: str) -> list[Seen]:
        return [one for one in self.seen if one.method == "POST" and one.path == path]
