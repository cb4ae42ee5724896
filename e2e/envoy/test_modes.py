"""Other ways to send bodies, to choose among endpoints, and to name several."""

import json
import pathlib
import subprocess

import httpx
import process
import proxy
import pytest
from process import MODEL

MEGABYTE = "prompts " * 125_000


def complete(envoy: proxy.Envoy, prompt: str = "Hello", **more) -> httpx.Response:
    return httpx.post(envoy.url + "/v1/completions", json={"model": MODEL, "prompt": prompt, "max_tokens": 3, **more}, timeout=30)


@pytest.mark.parametrize("tls", [False, True])
def test_the_shipped_bootstrap_is_valid(tmp_path: pathlib.Path, tls: bool) -> None:
    file = proxy.STANDALONE / "envoy.yaml"
    if tls:
        # The lines that are to be added for a picker that speaks TLS.
        lines = file.read_text(encoding="utf-8").splitlines()
        start = lines.index("    # transport_socket:")
        lines[start:start + 5] = [line.replace("# ", "", 1) for line in lines[start:start + 5]]
        file = tmp_path / "envoy.yaml"
        file.write_text("\n".join(lines), encoding="utf-8")
        assert "common_tls_context" in json.dumps(proxy.yaml.safe_load(file.read_text(encoding="utf-8")))
    if not proxy.BINARY:
        pytest.skip("envoy is not on the path")
    done = subprocess.run([proxy.BINARY, "--mode", "validate", "-c", file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def buffered(bootstrap: proxy.Bootstrap) -> None:
    bootstrap.mode.update({"request_body_mode": "BUFFERED", "request_trailer_mode": "SKIP"})
    bootstrap.listener["per_connection_buffer_limit_bytes"] = 2 << 20


def streamed(bootstrap: proxy.Bootstrap) -> None:
    bootstrap.mode.update({
        "request_body_mode": "STREAMED", "request_trailer_mode": "SKIP", "response_body_mode": "STREAMED",
        "response_trailer_mode": "SKIP",
    })


def test_buffered_requests(site: proxy.Site) -> None:
    envoy = site.envoy(site.picker(), buffered)
    assert complete(envoy).json()["usage"]["completion_tokens"] <= 3
    assert complete(envoy, MEGABYTE).status_code == 200
    stream = complete(envoy, stream=True)
    assert stream.status_code == 200 and stream.text.rstrip().endswith("[DONE]")
    # Envoy's own limit: the picker never sees such a request.
    assert complete(envoy, 3 * MEGABYTE).status_code == 413
    assert envoy.ext_proc("streams_failed") == 0


def test_streamed_requests_and_answers(site: proxy.Site) -> None:
    envoy = site.envoy(site.picker(), streamed)
    assert complete(envoy).json()["usage"]["completion_tokens"] <= 3
    assert complete(envoy, 3 * MEGABYTE).status_code == 200
    stream = complete(envoy, stream=True)
    assert stream.status_code == 200 and stream.text.rstrip().endswith("[DONE]")
    assert envoy.ext_proc("streams_failed") == envoy.ext_proc("spurious_msgs_received") == 0


def subset(*endpoints: str):
    """The gateway allows these endpoints only."""

    def change(bootstrap: proxy.Bootstrap) -> None:
        bootstrap.manager["http_filters"].insert(0, {
            "name": "subset",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                "metadata": [{
                    "metadata_namespace": "envoy.lb.subset_hint",
                    "value": {"x-gateway-destination-endpoint-subset": list(endpoints)},
                }],
            },
        })

    return change


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_subset_of_the_endpoints(site: proxy.Site, allowed: int) -> None:
    picker = site.picker()
    envoy = site.envoy(picker, subset(site.workers[allowed].url.removeprefix("http://")))
    assert [complete(envoy).status_code for _ in range(8)] == [200] * 8
    served = {endpoint["url"].rstrip("/"): endpoint["totalRequests"] for endpoint in picker.endpoints()}
    assert served == {site.workers[allowed].url: 8, site.workers[1 - allowed].url: 0}


def test_an_empty_subset_is_nobody(site: proxy.Site) -> None:
    envoy = site.envoy(site.picker(), subset())
    answer = complete(envoy)
    assert answer.status_code == 503
    assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"


def test_the_subset_may_be_ignored(site: proxy.Site) -> None:
    envoy = site.envoy(site.picker("--disable-endpoint-subset-filter"), subset())
    assert complete(envoy).status_code == 200


def test_scores_reach_envoy(site: proxy.Site) -> None:
    """As metadata, which access logs and other filters can use; here they are shown in a header."""

    def shown(bootstrap: proxy.Bootstrap) -> None:
        bootstrap.manager["route_config"]["response_headers_to_add"] = [{
            "header": {"key": "x-scores", "value": "%DYNAMIC_METADATA(envoy.lb:x-gateway-destination-endpoint-scores)%"},
        }]

    envoy = site.envoy(site.picker("--emit-endpoint-scores"), shown)
    scores = json.loads(complete(envoy).headers["x-scores"])
    assert set(scores) == {worker.url.removeprefix("http://") for worker in site.workers}
    assert all(0 <= score <= 7 for score in scores.values())


COST = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: queue-scorer}
- type: request-attribute-reporter
  parameters:
    attributes: [{key: {name: cost}, expression: "usage.prompt_tokens + 1000.0 * usage.completion_tokens"}]
"""


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_request_cost_reaches_envoy(site: proxy.Site, stream: bool) -> None:
    """As metadata at the end of the answer, which access logs and rate limits read."""
    log = site.folder / "access.log"

    def logged(bootstrap: proxy.Bootstrap) -> None:
        bootstrap.mode.update({"response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND"})
        bootstrap.manager["access_log"] = [{
            "name": "file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(log),
                "log_format": {"text_format_source": {"inline_string": "%DYNAMIC_METADATA(envoy.lb)%\n"}},
            },
        }]

    envoy = site.envoy(site.picker(config=COST), logged)
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = complete(envoy, **options)
    last = answer.text.split("data: ")[-2] if stream else answer.text
    usage = json.loads(last)["usage"]
    [line] = process.eventually("the request is in the log", lambda: log.exists() and log.read_text().splitlines())
    told = json.loads(line)
    assert told["cost"] == usage["prompt_tokens"] + 1000 * usage["completion_tokens"]
    assert told["x-gateway-destination-endpoint"], "what was told before stays"


TWO_CHOICES = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: queue-scorer}
- {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
"""


def test_the_second_choice_is_tried(site: proxy.Site) -> None:
    """Envoy's override_host takes a list, and a worker that has just died is passed over."""
    with process.workers(2) as workers:
        addresses = [("127.0.0.1", worker.port) for worker in workers]

        def override_host(bootstrap: proxy.Bootstrap) -> None:
            cluster = bootstrap.cluster("picked_endpoint")
            for key in ("lb_policy", "original_dst_lb_config", "cleanup_interval"):
                del cluster[key]
            extensions = "type.googleapis.com/envoy.extensions.load_balancing_policies"
            cluster |= {
                "type": "STATIC",
                "load_assignment": {"cluster_name": "picked_endpoint", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host, port in addresses
                ]}]},
                "load_balancing_policy": {"policies": [{"typed_extension_config": {
                    "name": "envoy.load_balancing_policies.override_host",
                    "typed_config": {
                        "@type": f"{extensions}.override_host.v3.OverrideHost",
                        "override_host_sources": [{"header": "x-gateway-destination-endpoint"}],
                        "selected_host_key": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint-served"}]},
                        "fallback_policy": {"policies": [{"typed_extension_config": {
                            "name": "envoy.load_balancing_policies.round_robin",
                            "typed_config": {"@type": f"{extensions}.round_robin.v3.RoundRobin"},
                        }}]},
                    },
                }}]},
            }
            bootstrap.route["retry_policy"] = {"retry_on": "connect-failure,reset-before-request", "num_retries": 2}

        # Metrics are read so seldom that the picker does not know what happens to the worker.
        picker = site.picker("--refresh-metrics-interval", "20s", "--metrics-staleness-threshold", "60s", workers=workers,
                             config=TWO_CHOICES)
        envoy = site.envoy(picker, override_host)
        workers[0].signal(process.SIGKILL)
        workers[0].wait()
        assert [complete(envoy).status_code for _ in range(12)] == [200] * 12
        # Who was meant to serve, and did not: the request is charged to the one that did.
        counted = {endpoint["url"].rstrip("/"): endpoint["totalRequests"] for endpoint in picker.endpoints()}
        assert counted[workers[1].url] == 12
        moved = process.metric(httpx.get(picker.admin + "/metrics", timeout=10).text, "weir_extproc_served_elsewhere_total")
        assert moved == counted[workers[0].url] > 0
