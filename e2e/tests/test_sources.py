"""Sources besides engines' own pages: further pages, GPU exporters, lists of models, other clusters' pickers."""

from collections.abc import Callable

import httpx
import process
import pytest
from engine import Engine

GPUS = b"""# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",pod="w0"} 95
DCGM_FI_DEV_GPU_UTIL{gpu="1",pod="w1"} 5
DCGM_FI_DEV_GPU_UTIL{gpu="2",pod="w1"} 20
my_preemptions{kind="swap"} 4
"""
PICKER = b"""llm_d_epp_average_queue_size{name="chat"} 7
llm_d_epp_average_kv_cache_utilization{name="chat"} 0.25
"""


@pytest.fixture
def serve(started: list[process.Process], write) -> Callable[..., process.Router]:
    def serve(engines: list[Engine], scheduling: str, labels: str = "") -> process.Router:
        listed = "".join(f"    - {{name: w{i}, url: '{one.url}'{labels}}}\n" for i, one in enumerate(engines))
        path = write("weir.yaml", (
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
            f"pools:\n- name: chat\n  endpoints:\n    static:\n{listed}  scheduling:\n{scheduling}"))
        router = process.serve(path)
        started.append(router)
        process.eventually("all are ready", lambda: router.ready_endpoints() == len(engines))
        return router

    return serve


def numbers(router: process.Router) -> list[dict]:
    return [endpoint["numbers"] for endpoint in router.endpoints()]


def test_the_exporter_beside_endpoints_steers_requests(serve) -> None:
    with Engine() as first, Engine() as second, Engine(page=GPUS) as exporter:
        router = serve([first, second], f"""
    plugins:
    - {{type: dcgm-data-source, parameters: {{port: {exporter.port}, interval: 50ms}}}}
    - {{type: dcgm-extractor}}
    - type: endpoint-attribute-scorer
      parameters: {{attributeKey: GPUUtilization, producer: dcgm-extractor, algorithm: {{type: linear_lower_is_better}}}}
    dataLayer: {{sources: [{{pluginRef: dcgm-data-source, extractors: [{{pluginRef: dcgm-extractor}}]}}]}}
""")
        wanted = [{"GPUUtilization/dcgm-extractor": 0.95}, {"GPUUtilization/dcgm-extractor": 0.2}]
        process.eventually("the page was read", lambda: numbers(router) == wanted)
        for number in range(10):
            body = {"model": "bare/model", "prompt": f"{number}"}
            assert httpx.post(router.url + "/completions", json=body, timeout=10).status_code == 200
        assert (len(first.posts("/v1/completions")), len(second.posts("/v1/completions"))) == (0, 10)
        exporter.page = None
        process.eventually("old numbers are withdrawn", lambda: numbers(router) == [{}, {}])
        page = router.get("/metrics").text
        assert process.metric(page, "llm_d_epp_datalayer_poll_errors_total", source_type="dcgm-data-source") >= 3
        assert router.ready_endpoints() == 2, "the exporter says nothing of the endpoints' health"


def test_several_pages_of_metrics_each_at_its_own_place(serve) -> None:
    vllm = (process.ROOT / "testdata/metrics/vllm.txt").read_bytes()
    with Engine(page=vllm) as engine, Engine(page=GPUS) as other:
        router = serve([engine], f"""
    plugins:
    - {{type: metrics-data-source}}
    - {{type: core-metrics-extractor}}
    - {{type: metrics-data-source, name: second, parameters: {{port: {other.port}, interval: 70ms}}}}
    - type: core-metrics-extractor
      name: mine
      parameters:
        engineConfigs: [{{name: vllm, customMetrics: [{{attributeKey: Preemptions, metricSpec: 'my_preemptions{{kind=swap}}'}}]}}]
    - {{type: queue-scorer}}
    - type: endpoint-attribute-scorer
      parameters: {{attributeKey: Preemptions, producer: mine, algorithm: {{type: linear_lower_is_better}}}}
    dataLayer:
      sources:
      - {{pluginRef: metrics-data-source, extractors: [{{pluginRef: core-metrics-extractor}}]}}
      - {{pluginRef: second, extractors: [{{pluginRef: mine}}]}}
""")
        process.eventually("the second page was read", lambda: numbers(router) == [{"Preemptions/mine": 4.0}])
        process.eventually("the first one, too", lambda: router.endpoints()[0]["metricsAgeMs"] is not None)
        assert not any(one.headers.get("authorization") for one in other.seen)


def test_lists_of_models_from_where_the_source_says(serve) -> None:
    with Engine() as engine:
        router = serve([engine], """
    plugins:
    - {type: models-data-source, parameters: {path: /v1/models, interval: 50ms}}
    - {type: models-data-extractor}
    - {type: queue-scorer}
    - {type: cel-filter, parameters: {expression: 'endpoint.models.exists(m, m.id == "bare/model")'}}
    dataLayer: {sources: [{pluginRef: models-data-source, extractors: [{pluginRef: models-data-extractor}]}]}
""")
        process.eventually("the list is there", lambda: router.endpoints()[0]["modelList"])
        assert router.endpoints()[0]["modelList"][0]["id"] == "bare/model"
        lists = lambda: sum(one.path == "/v1/models" for one in engine.seen)  # noqa: E731
        process.eventually("it is fetched again and again", lambda: lists() >= 3)
        assert httpx.post(router.url + "/completions", json={"model": "bare/model", "prompt": "x"}, timeout=10).status_code == 200


def test_other_clusters_say_how_busy_they_are(serve) -> None:
    with Engine() as gateway, Engine(page=PICKER) as picker:
        router = serve([gateway], """
    plugins:
    - {type: multicluster-metrics-data-source, parameters: {scheme: http, interval: 50ms}}
    - {type: multicluster-metrics-extractor}
    - {type: multicluster-queue-scorer}
    dataLayer:
      sources:
      - {pluginRef: multicluster-metrics-data-source, extractors: [{pluginRef: multicluster-metrics-extractor}]}
""", labels=f", labels: {{metricsAddress: localhost, metricsPort: '{picker.port}'}}")
        wanted = [{"llm-d.ai/multicluster-queue-size": 7.0, "llm-d.ai/multicluster-kv-cache-utilization": 0.25}]
        process.eventually("the page was read", lambda: numbers(router) == wanted)
