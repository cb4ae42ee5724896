"""`weir epp`: its command line, and what it follows while it runs. With an Envoy in front of it: `e2e/envoy`."""

import pathlib
import re
import ssl
import subprocess
from collections.abc import Callable

import engine
import httpx
import process
import pytest

PORTS = ("--grpc-port", "0", "--grpc-health-port=0", "-metrics-port", "0")
HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


class Picker(process.Process):
    def __init__(self, *arguments: str | pathlib.Path, **more):
        super().__init__("epp", *PORTS, *arguments, **more)
        self.port = int(self.expect(r"^weir is ready: external processing on \S+:(\d+)$", "out")[1])
        self.admin = self.expect(r"^admin: (\S+)$", "err")[1]

    def get(self, path: str) -> dict | list:
        return httpx.get(self.admin + path, timeout=10).json()

    def endpoints(self) -> list[dict]:
        return self.get("/debug/state")["pools"][0]["endpoints"]


@pytest.fixture
def picker(started: list[process.Process]) -> Callable[..., Picker]:
    def start(*arguments: str | pathlib.Path, **more) -> Picker:
        started.append(Picker(*arguments, **more))
        return started[-1]

    return start


@pytest.fixture
def endpoints(write) -> pathlib.Path:
    return write("endpoints.yaml", "endpoints: [{name: a, address: 127.0.0.1, port: '9'}]\n")


def test_a_program_called_epp_is_the_picker(tmp_path: pathlib.Path) -> None:
    (tmp_path / "epp").symlink_to(process.BINARY)
    done = subprocess.run([tmp_path / "epp", "--help"], text=True, capture_output=True, timeout=20)
    assert done.returncode == 0
    assert done.stdout.startswith("llm-d's Endpoint Picker")
    assert done.stdout == process.run("epp", "--help").stdout


@pytest.mark.parametrize("arguments, says", [
    (["--pool-name", "chat"], "no Kubernetes cluster is configured"),
    (["--endpoint-selector=app=vllm", "--endpoint-target-ports=8000"], "no Kubernetes cluster is configured"),
    ([], "--endpoints-file FILE"),
])
def test_without_a_cluster_a_file_is_needed(arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    done = process.run("epp", *PORTS, *arguments)
    assert done.returncode == 1
    assert says in done.stderr


def test_wrong_flags_are_all_told(endpoints: pathlib.Path) -> None:
    done = process.run("epp", "--pol-name=x", "--grpc-port=many", "--endpoints-file", endpoints)
    assert done.returncode == 64
    assert "there is no flag --pol-name (did you mean --pool-name?)" in done.stderr
    assert '--grpc-port: "many" is not a port' in done.stderr
    removed = process.run("epp", "--endpoints-file", endpoints, "--lora-info-metric=vllm:lora_requests_info")
    assert removed.returncode == 64
    assert "engineConfigs" in removed.stderr


def test_what_kserve_starts(picker: Callable[..., Picker], tmp_path: pathlib.Path, write) -> None:
    """Old spellings, empty arguments, a repeated flag, certificates, and metrics by https that nobody vouches for."""
    process.certificate(tmp_path, "first")
    page = (process.ROOT / "testdata/metrics/vllm.txt").read_bytes()
    with engine.Engine(tls=(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")), page=page) as server:
        listed = write("endpoints.yaml", f"endpoints: [{{name: a, address: 127.0.0.1, port: '{server.port}'}}]\n")
        config = (f"{HEAD}plugins:\n- type: file-discovery\n  parameters: {{path: {listed}}}\n- type: queue-scorer\n"
                  "dataLayer: {discovery: {pluginRef: file-discovery}}\n")
        one = picker(
            "--pool-name", "llama-inference-pool", "--pool-namespace", "team", "--zap-encoder", "json", "", "-config-text", config,
            "--enable-cert-reload=true", "--secure-serving=true", "--model-server-metrics-scheme=https", "", f"--cert-path={tmp_path}",
            "--ha-enable-leader-election", "--ha-enable-leader-election=false",
        )
        assert one.get("/debug/state")["pools"][0]["name"] == "llama-inference-pool"
        process.eventually("the page is read", lambda: one.endpoints()[0]["metricsAgeMs"] is not None)
        assert '"level":"WARN"' in one.text("err") and "--model-server-metrics-scheme was removed" in one.text("err")
        before = ssl.get_server_certificate(("127.0.0.1", one.port))
        process.certificate(tmp_path, "second")
        process.eventually("the new certificate is served", lambda: ssl.get_server_certificate(("127.0.0.1", one.port)) != before)


def test_the_configuration_is_followed(picker: Callable[..., Picker], endpoints: pathlib.Path, write) -> None:
    config = write("epp.yaml", HEAD + "plugins: [{type: queue-scorer}]\n")
    one = picker("--config-file", config, "--endpoints-file", endpoints)

    def plugins() -> set[str]:
        return {plugin["name"] for plugin in one.get("/debug/plan")[0]["plan"]["plugins"]}

    assert "running-requests-size-scorer" not in plugins()
    write("epp.yaml", HEAD + "plugins: [{type: queue-scorer}, {type: running-requests-size-scorer}]\n")
    process.eventually("the change took effect", lambda: "running-requests-size-scorer" in plugins())


def test_the_list_of_endpoints_is_followed(picker: Callable[..., Picker], endpoints: pathlib.Path, write) -> None:
    one = picker("--endpoints-file", endpoints)
    assert [endpoint["id"] for endpoint in one.endpoints()] == ["default/a"]
    write("endpoints.yaml", "endpoints: [{name: b, address: 127.0.0.1, port: '9'}]\n")
    process.eventually("the new list counts", lambda: [endpoint["id"] for endpoint in one.endpoints()] == ["default/b"])


def test_experimental_plugins_need_the_flag(picker: Callable[..., Picker], endpoints: pathlib.Path, write) -> None:
    experimental = next(
        line.split()[0] for line in process.run("check", "--plugins").stdout.splitlines() if "xperimental" in line)
    config = write("epp.yaml", HEAD + f"plugins: [{{type: queue-scorer}}, {{type: {experimental}}}]\n")
    arguments = ("--config-file", config, "--endpoints-file", endpoints)
    refused = process.run("epp", *PORTS, *arguments)
    assert refused.returncode == 1
    assert "--allow-experimental-plugins" in refused.stderr
    picker("--allow-experimental-plugins", *arguments)


def test_what_plugins_hold_is_shown_as_in_llm_d(picker: Callable[..., Picker], endpoints: pathlib.Path) -> None:
    one = picker("--endpoints-file", endpoints)
    state = one.get("/debug/plugins/state")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", state["timestamp"])
    index = state["plugins"]["approx-prefix-cache-producer"]
    assert index["type"] == index["name"] == "approx-prefix-cache-producer"
    assert 0 <= index["state"]["usedBytes"] < index["state"]["limitBytes"]
    assert state["plugins"]["queue-scorer"]["message"] == "plugin does not support state collection"
    assert httpx.post(one.admin + "/debug/plugins/state", timeout=10).status_code == 405


def test_it_ends_in_peace(picker: Callable[..., Picker], endpoints: pathlib.Path) -> None:
    one = picker("--endpoints-file", endpoints)
    one.signal(process.SIGTERM)
    assert one.wait() == 0
