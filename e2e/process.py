"""Starting weir as its users do, and talking to what it started."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = pathlib.Path(os.environ.get("WEIR_BIN") or ROOT / "target/release/weir").resolve()
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def eventually(what: str, condition: Callable[[], object], within: float = 10.0) -> object:
    """Waits until the condition holds, and returns what it returned."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A weir command and what it printed."""

    def __init__(self, *arguments: str | os.PathLike[str], cwd: pathlib.Path | None = None, env: dict[str, str] | None = None):
        self.command = [str(BINARY), *map(str, arguments)]
        self.lines: list[tuple[str, str]] = []
        self.popen = subprocess.Popen(
            self.command, cwd=cwd, env={**os.environ, **(env or {})}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("out", self.popen.stdout), ("err", self.popen.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe) -> None:
        for line in pipe:
            self.lines.append((name, line.rstrip("\n")))

    def text(self, *names: str) -> str:
        return "\n".join(line for name, line in self.lines if not names or name in names)

    def expect(self, pattern: str, *names: str, within: float = 20.0) -> re.Match[str]:
        """Waits for a line that matches."""
        deadline = time.monotonic() + within
        while True:
            ended = self.popen.poll() is not None
            if ended:
                for reader in self._readers:
                    reader.join(5)
            if found := re.search(pattern, self.text(*names), re.M):
                return found
            assert not ended, f"{self.command} ended with {self.popen.returncode}:\n{self.text()}"
            assert time.monotonic() < deadline, f"{self.command} did not print {pattern!r} in {within} s:\n{self.text()}"
            time.sleep(0.01)

    def wait(self, within: float = 20.0) -> int:
        code = self.popen.wait(within)
        for reader in self._readers:
            reader.join(5)
        return code

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(3)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Router(Process):
    """`weir up` or `weir serve`, ready."""

    def __init__(self, *arguments: str | os.PathLike[str], **more):
        super().__init__(*arguments, **more)
        self.url = self.expect(r"^weir is ready: (https?://\S+/v1)$", "out")[1]
        self.admin = self.expect(r"admin: (http://\S+)", "out", "err")[1].rstrip("/")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.admin + path, timeout=10)

    def endpoints(self) -> list[dict]:
        state = self.get("/debug/state").json()
        return [endpoint for pool in state["pools"] for endpoint in pool["endpoints"]]

    def name_of(self, url: str) -> str:
        """What `x-weir-endpoint` says of the endpoint with this URL."""
        [found] = [endpoint for endpoint in self.endpoints() if endpoint["url"].rstrip("/") == url]
        return found["url"].rstrip("/").split("://", 1)[1]

    def ready_endpoints(self) -> int:
        return sum(pool["ready"] for pool in self.get("/readyz").json()["pools"])


def up(*arguments: str, **more) -> Router:
    return Router("up", "--port", "0", "--admin-port", "0", *arguments, **more)


def serve(config: pathlib.Path, *arguments: str, **more) -> Router:
    return Router("serve", "--config", config, *arguments, **more)


class Worker(Process):
    """One simulated model server in a process of its own."""

    def __init__(self, *arguments: str, model: str = MODEL):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("sim", "--host", "127.0.0.1", "--port", str(self.port), "--model", model, *arguments)
        eventually(f"{self.url} is healthy", self._healthy)

    def _healthy(self) -> bool:
        assert self.popen.poll() is None, f"{self.command} ended:\n{self.text()}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + "/health", timeout=1).status_code == 200
        return False

    def metric(self, name: str) -> float:
        return metric(httpx.get(self.url + "/metrics", timeout=10).text, name)


def metric(page: str, name: str, **labels: str) -> float:
    """Sum of a metric's samples that have these labels."""
    found = None
    for line in page.splitlines():
        match = re.match(r"([^\s{#]+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name and all(f'{k}="{v}"' in (match[2] or "") for k, v in labels.items()):
            found = (found or 0.0) + float(match[3])
    assert found is not None, f"no {name} with {labels} on the page"
    return found


def certificate(folder: pathlib.Path, name: str) -> None:
    """A self-signed certificate whose subject is `name`, renamed into place as tools that renew certificates do."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is missing, and with it certificates")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", folder / "new.key", "-out", folder / "new.crt"],
        check=True, capture_output=True,
    )
    (folder / "new.key").rename(folder / "tls.key")
    (folder / "new.crt").rename(folder / "tls.crt")


@contextlib.contextmanager
def workers(count: int, *arguments: str, model: str = MODEL) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for _ in range(count):
            started.append(Worker(*arguments, model=model))
        yield started
    finally:
        for worker in started:
            worker.stop()


def run(*arguments: str | os.PathLike[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)], text=True, capture_output=True, timeout=30, stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )


SIGHUP, SIGINT, SIGKILL, SIGTERM = signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM
