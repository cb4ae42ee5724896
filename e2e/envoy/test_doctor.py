"""Each check of `weir doctor`: one thing is broken, and that one is found, with its fix."""

import json
import pathlib
from collections.abc import Callable, Iterator

import engine
import httpx
import process
import proxy
import pytest
import yaml
from process import MODEL


def doctor(*arguments: str | pathlib.Path) -> tuple[int, list[dict]]:
    done = process.run("doctor", "--json", *arguments)
    assert not done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, report["findings"]


def bad(findings: list[dict]) -> list[dict]:
    return [one for one in findings if one["verdict"] in ("wrong", "warning")]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, fleet: list[process.Worker]) -> Iterator[proxy.Site]:
    """A site whose picker all tests may use; each starts an Envoy of its own."""
    site = proxy.Site(tmp_path_factory.mktemp("doctor"), fleet)
    try:
        site.picker()
        yield site
    finally:
        site.stop()


@pytest.fixture
def broken(standing: proxy.Site) -> Iterator[Callable[..., proxy.Envoy]]:
    """Starts an Envoy with one change."""
    [picker, *_] = standing.running
    started: list[proxy.Envoy] = []

    def start(change: Callable[[proxy.Bootstrap], object]) -> proxy.Envoy:
        started.append(proxy.Envoy(standing.folder, proxy.changed(picker, change)))
        return started[-1]

    yield start
    for envoy in started:
        envoy.stop()


def test_nothing_is_wrong(standing: proxy.Site, broken: Callable[..., proxy.Envoy]) -> None:
    [picker, *_] = standing.running
    envoy = broken(lambda _: None)
    envoy.picker_is_healthy()
    code, findings = doctor("--envoy", envoy.admin, "--admin", picker.admin, "--url", envoy.url)
    assert (code, bad(findings)) == (0, [])
    assert {one["check"].split(".")[0] for one in findings} == {"envoy", "picker", "flow"}
    text = process.run("doctor", "--envoy", envoy.admin).stdout
    assert "ok       envoy.body-mode" in text and text.splitlines()[-1].endswith("0 warnings, 0 wrong, 0 skipped")


def put(place: str, key: str, value: object):
    """Sets a key of what `Bootstrap` calls `place`."""
    return lambda bootstrap: getattr(bootstrap, place).update({key: value})


def drop(place: str, key: str):
    return lambda bootstrap: getattr(bootstrap, place).pop(key)


def of_cluster(name: str, change: Callable[[dict], object]):
    return lambda bootstrap: change(bootstrap.cluster(name))


def both(*changes: Callable[[proxy.Bootstrap], object]):
    return lambda bootstrap: [change(bootstrap) for change in changes]


BREAKS = {
    "no filter": (lambda one: one.manager["http_filters"].pop(0), "envoy.ext-proc", "wrong", "deploy/standalone/envoy.yaml"),
    "no request body": (put("mode", "request_body_mode", "NONE"), "envoy.body-mode", "wrong", "request_body_mode: FULL_DUPLEX_STREAMED"),
    "streamed request body": (put("mode", "request_body_mode", "STREAMED"), "envoy.body-mode", "wrong", "FULL_DUPLEX_STREAMED"),
    "beginning of the body": (put("mode", "request_body_mode", "BUFFERED_PARTIAL"), "envoy.body-mode", "wrong", "FULL_DUPLEX_STREAMED"),
    "buffered request body": (put("mode", "request_body_mode", "BUFFERED"), "envoy.body-mode", "warning", "per_connection_buffer_limit_bytes"),
    "no request headers": (put("mode", "request_header_mode", "SKIP"), "envoy.body-mode", "wrong", "request_header_mode: SEND"),
    "no response headers": (put("mode", "response_header_mode", "SKIP"), "envoy.response-mode", "wrong", "response_header_mode: SEND"),
    "buffered answers": (put("mode", "response_body_mode", "BUFFERED"), "envoy.response-mode", "wrong", "response_body_mode: NONE"),
    "streamed answers": (put("mode", "response_body_mode", "STREAMED"), "envoy.response-mode", "warning", "FULL_DUPLEX_STREAMED"),
    "ends of answers": (put("mode", "response_trailer_mode", "SKIP"), "envoy.response-mode", "warning", "response_trailer_mode: SEND"),
    "short message timeout": (
        both(drop("filter", "message_timeout"), drop("filter", "max_message_timeout")),
        "envoy.message-timeout", "warning", "message_timeout: 1000s"),
    "requests may pass": (put("filter", "failure_mode_allow", True), "envoy.failure-mode", "warning", "failure_mode_allow: false"),
    "clients name servers": (
        drop("manager", "early_header_mutation_extensions"), "envoy.client-header", "warning", "early_header_mutation_extensions"),
    "no metadata": (drop("filter", "metadata_options"), "envoy.metadata", "warning", "receiving_namespaces"),
    "no subset hints": (
        lambda one: one.filter["metadata_options"]["forwarding_namespaces"].update({"untyped": ["envoy.lb"]}),
        "envoy.metadata", "warning", "envoy.lb.subset_hint"),
    "route timeout": (drop("route", "timeout"), "envoy.route-timeout", "wrong", "`timeout: 0s`"),
    "idle timeout": (
        both(drop("route", "idle_timeout"), drop("manager", "stream_idle_timeout")), "envoy.idle-timeout", "warning", "stream_idle_timeout: 0s"),
    "not by header": (
        of_cluster("picked_endpoint", lambda cluster: cluster.update({"original_dst_lb_config": {}})),
        "envoy.destination", "wrong", "http_header_name: x-gateway-destination-endpoint"),
    "balances by itself": (
        of_cluster("picked_endpoint", lambda cluster: (
            cluster.update({"type": "STATIC", "lb_policy": "ROUND_ROBIN"}), cluster.pop("original_dst_lb_config"),
            cluster.pop("cleanup_interval"))),
        "envoy.destination", "wrong", "override_host"),
    "default limits of servers": (
        of_cluster("picked_endpoint", lambda cluster: cluster.pop("circuit_breakers")), "envoy.circuit-breaker", "wrong", "max_requests: 40000"),
    "default limits of the picker": (
        of_cluster("epp", lambda cluster: cluster.pop("circuit_breakers")), "envoy.circuit-breaker", "wrong", "max_requests: 40000"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_settings_of_envoy(broken: Callable[..., proxy.Envoy], name: str) -> None:
    change, check, verdict, fix = BREAKS[name]
    envoy = broken(change)
    if name != "no filter":
        envoy.picker_is_healthy()
    code, findings = doctor("--envoy", envoy.admin)
    [found] = bad(findings)
    assert (found["check"], found["verdict"]) == (check, verdict)
    assert fix in found["fix"]
    assert code == (verdict == "wrong")


def test_a_buffered_body_needs_time(broken: Callable[..., proxy.Envoy]) -> None:
    envoy = broken(both(put("mode", "request_body_mode", "BUFFERED"), put("filter", "message_timeout", "0.2s")))
    envoy.picker_is_healthy()
    found = {one["check"]: one for one in bad(doctor("--envoy", envoy.admin)[1])}
    assert found["envoy.message-timeout"]["verdict"] == "wrong"
    assert "504" in found["envoy.message-timeout"]["message"]


def test_requests_may_pass_to_wherever_the_client_says(broken: Callable[..., proxy.Envoy]) -> None:
    envoy = broken(both(put("filter", "failure_mode_allow", True), drop("manager", "early_header_mutation_extensions")))
    envoy.picker_is_healthy()
    found = {one["check"]: one["verdict"] for one in bad(doctor("--envoy", envoy.admin)[1])}
    assert found == {"envoy.failure-mode": "wrong", "envoy.client-header": "warning"}


def test_the_picker_spoken_to_by_http1(broken: Callable[..., proxy.Envoy]) -> None:
    envoy = broken(of_cluster("epp", lambda cluster: (cluster.pop("typed_extension_protocol_options"), cluster.pop("health_checks"))))
    [found] = bad(doctor("--envoy", envoy.admin)[1])
    assert (found["check"], found["verdict"]) == ("envoy.picker-cluster", "wrong")
    assert "http2_protocol_options" in found["fix"]


def test_no_picker(tmp_path: pathlib.Path) -> None:
    envoy = proxy.Envoy(tmp_path, proxy.Bootstrap())
    try:
        envoy.picker_is_healthy(False)
        code, findings = doctor("--envoy", envoy.admin, "--url", envoy.url, "--model", MODEL)
        found = {one["check"]: one for one in bad(findings)}
        assert code == 1 and "weir epp" in found["envoy.picker-health"]["fix"]
        assert "500" in found["flow.answer"]["message"] and "envoy.picker-health" in found["flow.answer"]["fix"]
    finally:
        envoy.stop()


def test_tls_where_there_is_none(standing: proxy.Site, broken: Callable[..., proxy.Envoy]) -> None:
    """Without health checks only connections that fail show it."""

    def change(bootstrap: proxy.Bootstrap) -> None:
        bootstrap.cluster("epp").pop("health_checks")
        endpoint = bootstrap.cluster("epp")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = process.free_port()

    envoy = broken(change)
    assert httpx.get(envoy.url + "/v1/models", timeout=10).status_code == 500
    found = {one["check"]: one for one in bad(doctor("--envoy", envoy.admin)[1])}
    assert "connections to" in found["envoy.picker-health"]["message"]
    # What has failed already is counted.
    assert "1 requests whose stream to the picker failed" in found["envoy.counters"]["message"]


def test_nobody_there() -> None:
    nobody = f"http://127.0.0.1:{process.free_port()}"
    code, findings = doctor("--envoy", nobody, "--admin", nobody, "--url", nobody, "--model", "m")
    assert code == 1
    fixes = {one["check"]: one["fix"] for one in bad(findings)}
    assert set(fixes) == {"envoy.reachable", "picker.reachable", "flow.answer"}
    assert "start Envoy" in fixes["envoy.reachable"] and "start weir" in fixes["picker.reachable"]


def test_the_picker_does_not_see_answers(standing: proxy.Site, broken: Callable[..., proxy.Envoy]) -> None:
    [picker, *_] = standing.running
    envoy = broken(put("mode", "response_header_mode", "SKIP"))
    envoy.picker_is_healthy()
    [found] = bad(doctor("--url", envoy.url, "--admin", picker.admin)[1])
    assert found["check"] == "flow.response"
    assert "response_header_mode: SEND" in found["fix"]


def test_another_picker_is_asked(site: proxy.Site, standing: proxy.Site, broken: Callable[..., proxy.Envoy]) -> None:
    other = site.picker()
    envoy = broken(lambda _: None)
    envoy.picker_is_healthy()
    [found] = bad(doctor("--url", envoy.url, "--admin", other.admin)[1])
    assert found["check"] == "flow.picker"


def test_clients_reach_any_address(broken: Callable[..., proxy.Envoy], standing: proxy.Site) -> None:
    """No picker is asked, and the header is taken from the client."""

    def change(bootstrap: proxy.Bootstrap) -> None:
        del bootstrap.manager["early_header_mutation_extensions"]
        bootstrap.manager["http_filters"].pop(0)
        worker = standing.workers[0].port
        # What has no header goes to the first server.
        bootstrap.manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, {
            "match": {"prefix": "/", "headers": [{"name": "x-gateway-destination-endpoint", "present_match": False}]},
            "route": {"cluster": "first"},
        })
        bootstrap.tree["static_resources"]["clusters"].append({
            "name": "first", "type": "STATIC", "load_assignment": {"cluster_name": "first", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": worker}}}}]}]},
        })
        bootstrap.cluster("picked_endpoint")["connect_timeout"] = "0.2s"

    envoy = broken(change)
    [found] = bad(doctor("--url", envoy.url)[1])
    assert found["check"] == "flow.client-header"
    assert "remove the header early" in found["fix"]


@pytest.fixture
def configuration(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """An `EndpointPickerConfig` over a list of endpoints."""

    def write(urls: list[str], *plugins: dict) -> pathlib.Path:
        ports = [url.rsplit(":", 1)[1] for url in urls]
        endpoints = [{"name": f"e{n}", "address": "127.0.0.1", "port": port} for n, port in enumerate(ports)]
        (tmp_path / "endpoints.yaml").write_text(yaml.safe_dump({"endpoints": endpoints}))
        discovery = {"type": "file-discovery", "parameters": {"path": str(tmp_path / "endpoints.yaml")}}
        path = tmp_path / "epp.yaml"
        path.write_text(yaml.safe_dump({
            "apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig",
            "plugins": [discovery, {"type": "queue-scorer"}, *plugins],
            "dataLayer": {"discovery": {"pluginRef": "file-discovery"}},
        }))
        return path

    return write


def of(check: str, findings: list[dict]) -> dict:
    [found] = bad(findings)
    assert (found["check"], found["verdict"]) == (check, "wrong")
    return found


def test_endpoints_that_are_well(configuration, fleet: list[process.Worker]) -> None:
    code, findings = doctor("--config", configuration([one.url for one in fleet], {"type": "prefix-cache-scorer"}))
    assert (code, bad(findings)) == (0, [])


def test_an_endpoint_that_is_not_there(configuration, fleet: list[process.Worker]) -> None:
    nobody = f"http://127.0.0.1:{process.free_port()}"
    found = of("endpoint.reachable", doctor("--config", configuration([fleet[0].url, nobody]))[1])
    assert "default/e1" in found["message"] and "start the server" in found["fix"]


def test_an_endpoint_without_metrics(configuration, fleet: list[process.Worker]) -> None:
    with engine.Engine() as bare:
        found = of("endpoint.metrics", doctor("--config", configuration([fleet[0].url, bare.url]))[1])
    assert "404" in found["message"] and "metrics-data-source" in found["fix"]


def test_another_engine_than_configured(configuration, fleet: list[process.Worker]) -> None:
    other = {"type": "core-metrics-extractor", "parameters": {"defaultEngine": "mine", "engineConfigs": [
        {"name": "mine", "queuedRequestsSpec": "mine_waiting"}, {"name": "vllm", "queuedRequestsSpec": "mine_too"}]}}
    found = of("endpoint.metrics", doctor("--config", configuration([fleet[0].url], other))[1])
    assert "`mine`" in found["message"] and "defaultEngine" in found["fix"]


def test_block_sizes(configuration) -> None:
    cache = ("--enable-kvcache", "--kv-cache-size", "1000", "--block-size")
    with process.workers(1, *cache, "16") as [sixteen], process.workers(1, *cache, "32") as [thirty_two]:
        fixed = {"type": "approx-prefix-cache-producer", "parameters": {"autoTune": False, "blockSizeTokens": 24, "lruCapacityPerServer": 9}}
        scorer = {"type": "prefix-cache-scorer"}
        found = of("endpoint.block-size", doctor("--config", configuration([sixteen.url], scorer, fixed))[1])
        assert found["fix"] == "set blockSizeTokens: 16, or start the engine with --block-size 24"
        found = of("endpoint.block-size", doctor("--config", configuration([sixteen.url, thirty_two.url], scorer))[1])
        assert "same --block-size" in found["fix"]
        fixed["parameters"] = {"autoTune": False, "blockSizeTokens": 32}
        found = of("endpoint.cache-size", doctor("--config", configuration([sixteen.url], scorer, fixed))[1])
        assert "16000" in found["message"] and found["fix"] == "set autoTune: true, or lruCapacityPerServer: 500"


def test_a_configuration_that_is_wrong(configuration, tmp_path: pathlib.Path) -> None:
    path = configuration([])
    (tmp_path / "endpoints.yaml").write_text("endpoints: [{name: a, address: 127.0.0.1}]")
    found = of("config.valid", doctor("--config", path)[1])
    assert "`port` is missing" in found["message"]
    path.write_text("kind: EndpointPickerConfig\napiVersion: llm-d.ai/v1alpha1\nplugin: []\n")
    found = of("config.valid", doctor("--config", path)[1])
    assert "weir check" in found["fix"]


def test_a_picker_whose_endpoints_are_gone_or_stale(site: proxy.Site) -> None:
    with process.workers(2) as workers:
        picker = site.picker("--metrics-staleness-threshold", "100ms", workers=workers)
        workers[0].signal(process.SIGKILL)
        process.eventually("its death is known", lambda: picker.ready() == 1)
        findings = {one["check"]: one for one in bad(doctor("--admin", picker.admin)[1])}
        assert "1 of 2" in findings["picker.endpoints"]["message"]
        # Idle endpoints are asked once a second, which is too seldom for that threshold.
        def stale() -> list[dict]:
            return [one for one in bad(doctor("--admin", picker.admin)[1]) if one["check"] == "picker.metrics-age"]

        [found] = process.eventually("the metrics are old", stale)
        assert "--metrics-staleness-threshold" in found["fix"]


def test_a_picker_that_refused_its_configuration(site: proxy.Site, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "epp.yaml"
    good = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\n"
    path.write_text(good)
    picker = site.picker("--config-file", path)
    path.write_text(good + "plugin: []\n")

    def refused() -> list[dict]:
        return [one for one in bad(doctor("--admin", picker.admin)[1]) if one["check"] == "picker.configuration"]

    [found] = process.eventually("the change was refused", refused)
    assert "unknown field" in found["message"] and "weir check" in found["fix"]
