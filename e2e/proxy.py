"""A real Envoy in front of `weir epp`, as `deploy/standalone` has it, on free ports."""

from __future__ import annotations

import copy
import json
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import httpx
import process
import pytest
import yaml

STANDALONE = process.ROOT / "deploy/standalone"
BINARY = shutil.which("envoy")
TLS = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": {}},
    },
}


class Bootstrap:
    """`deploy/standalone/envoy.yaml`, to be changed in one place."""

    def __init__(self, picker: Picker | None = None):
        self.tree = yaml.safe_load((STANDALONE / "envoy.yaml").read_text(encoding="utf-8"))
        self.tree["admin"]["address"]["socket_address"]["port_value"] = 0
        self.listener["address"]["socket_address"]["port_value"] = 0
        if picker:
            endpoint = self.cluster("epp")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"]["port_value"] = picker.port
            endpoint["health_check_config"]["port_value"] = picker.health_port
            # Health is looked at as often as Envoy can, so that tests need not wait for it.
            self.cluster("epp")["health_checks"][0] |= {"interval": "0.1s", "no_traffic_interval": "0.1s", "unhealthy_threshold": 1}
            if picker.tls:
                self.cluster("epp")["transport_socket"] = copy.deepcopy(TLS)
                del endpoint["health_check_config"]

    @property
    def listener(self) -> dict:
        return self.tree["static_resources"]["listeners"][0]

    @property
    def manager(self) -> dict:
        return self.listener["filter_chains"][0]["filters"][0]["typed_config"]

    @property
    def filter(self) -> dict:
        [found] = [one for one in self.manager["http_filters"] if one["name"] == "envoy.filters.http.ext_proc"]
        return found["typed_config"]

    @property
    def mode(self) -> dict:
        return self.filter["processing_mode"]

    @property
    def route(self) -> dict:
        return self.manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]

    def cluster(self, name: str) -> dict:
        [found] = [one for one in self.tree["static_resources"]["clusters"] if one["name"] == name]
        return found


class Picker(process.Process):
    """`weir epp` over a list of endpoints, listening."""

    def __init__(self, folder: pathlib.Path, endpoints: list[str], *arguments: str, config: str | None = None, tls: bool = False,
                 ports: tuple[int, int, int] | None = None, own_list: bool = False):
        """`own_list`: the configuration names the list of endpoints itself."""
        self.file = folder / "endpoints.yaml"
        self.write(endpoints)
        self.tls = tls
        self.port, self.health_port, self.admin_port = ports or tuple(process.free_port() for _ in range(3))
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        more = ["--config-text", config] if config else []
        more += [] if own_list else ["--endpoints-file", self.file]
        super().__init__(
            "epp", "--grpc-port", str(self.port), "--grpc-health-port", str(self.health_port),
            "--metrics-port", str(self.admin_port), f"--secure-serving={str(tls).lower()}", *more, *arguments,
        )
        self.expect(r"^weir is ready: ", "out")

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.port, self.health_port, self.admin_port

    def write(self, endpoints: list[str]) -> None:
        """Writes the list of endpoints, as one change."""
        entries = [
            {"name": f"e{number}", "address": url.rsplit(":", 1)[0].split("//")[1], "port": url.rsplit(":", 1)[1]}
            for number, url in enumerate(endpoints)
        ]
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump({"endpoints": entries}), encoding="utf-8")
        new.rename(self.file)

    def endpoints(self) -> list[dict]:
        state = httpx.get(self.admin + "/debug/state", timeout=10).json()
        return [endpoint for pool in state["pools"] for endpoint in pool["endpoints"]]

    def ready(self) -> int:
        return sum(endpoint["readiness"] == "ready" for endpoint in self.endpoints())

    def inflight(self) -> int:
        return sum(endpoint["inflightRequests"] for endpoint in self.endpoints())


class Envoy:
    """A running Envoy."""

    def __init__(self, folder: pathlib.Path, bootstrap: Bootstrap):
        if not BINARY:
            pytest.skip("envoy is not on the path")
        number = len(list(folder.glob("envoy-*.json")))
        file, address = folder / f"envoy-{number}.json", folder / f"admin-{number}"
        file.write_text(json.dumps(bootstrap.tree), encoding="utf-8")
        self.log = folder / f"envoy-{number}.log"
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [BINARY, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn",
                 "--file-flush-interval-msec", "100", "--admin-address-path", address],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        written = process.eventually("Envoy has an admin address", lambda: self._alive() and address.exists() and address.read_text())
        self.admin = f"http://{written}"
        process.eventually("Envoy is ready", self._ready)
        [listener] = httpx.get(self.admin + "/listeners?format=json", timeout=10).json()["listener_statuses"]
        self.port = listener["local_address"]["socket_address"]["port_value"]
        self.url = f"http://127.0.0.1:{self.port}"

    def _alive(self) -> bool:
        assert self.popen.poll() is None, f"Envoy ended:\n{self.log.read_text()}"
        return True

    def _ready(self) -> bool:
        self._alive()
        try:
            return httpx.get(self.admin + "/ready", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def stat(self, name: str) -> int:
        for line in httpx.get(f"{self.admin}/stats?filter=^{name}$", timeout=10).text.splitlines():
            return int(line.rsplit(": ", 1)[1])
        return 0

    def ext_proc(self, name: str) -> int:
        return self.stat(f"http.inference.ext_proc.{name}")

    def picker_is_healthy(self, healthy: bool = True) -> None:
        """Waits until Envoy's health checks have found out."""
        process.eventually(
            f"Envoy takes the picker for {'healthy' if healthy else 'unhealthy'}",
            lambda: self.stat("cluster.epp.membership_healthy") == int(healthy),
        )

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


def changed(picker: Picker | None, change: Callable[[Bootstrap], object] | None) -> Bootstrap:
    """The standalone bootstrap with one change."""
    bootstrap = Bootstrap(picker)
    if change:
        change(bootstrap)
    return bootstrap


class Site:
    """A picker and an Envoy over simulated workers, and how to start them."""

    def __init__(self, folder: pathlib.Path, workers: list[process.Worker]):
        self.folder, self.workers = folder, workers
        self.running: list[process.Process | Envoy] = []

    def picker(self, *arguments: str, workers: list[process.Worker] | None = None, **more) -> Picker:
        folder = self.folder / f"picker-{len(self.running)}"
        folder.mkdir()
        urls = [worker.url for worker in (self.workers if workers is None else workers)]
        picker = Picker(folder, urls, *arguments, **more)
        self.running.append(picker)
        process.eventually("all endpoints are ready", lambda: picker.ready() == len(urls))
        return picker

    def envoy(self, picker: Picker | None, change: Callable[[Bootstrap], object] | None = None) -> Envoy:
        envoy = Envoy(self.folder, changed(picker, change))
        self.running.append(envoy)
        if picker:
            envoy.picker_is_healthy()
        return envoy

    def stop(self) -> None:
        for one in reversed(self.running):
            one.stop()
