"""Traces: spans of requests by OpenTelemetry's protocol, and the context that they hand on."""

import json
import pathlib
from collections.abc import Callable

import engine
import httpx
import process
import pytest
from collector import Collector, Span
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds
from process import MODEL

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
# Spans come when they are asked for.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
DISAGGREGATED = """
    plugins:
    - {type: decode-filter}
    - {type: prefill-filter}
    - {type: queue-scorer}
    - {type: always-disagg-pd-decider}
    - {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
    schedulingProfiles:
    - {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}
    - {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer, weight: 2}]}
"""


def chat(url: str, traceparent: str | None = None, **more) -> httpx.Response:
    headers = {"traceparent": traceparent} if traceparent else {}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4, **more}
    return httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30)


def only(spans: dict[str, list[Span]], name: str) -> Span:
    [span] = spans[name]
    return span


@pytest.fixture
def serve(started: list[process.Process], write) -> Callable[..., process.Router]:
    def serve(tracing: str, urls: list[str], scheduling: str = "", env: dict[str, str] | None = None,
              labels: tuple[str, ...] = ()) -> process.Router:
        listed = "".join(
            f"    - {{url: '{url}', labels: {{llm-d.ai/role: {labels[place] if labels else 'both'}}}}}\n"
            for place, url in enumerate(urls))
        path = write("weir.yaml", (
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
            f"tracing: {tracing}\npools:\n- name: chat\n  endpoints:\n    static:\n{listed}"
            + (f"  scheduling:{scheduling}" if scheduling else "")))
        router = process.serve(path, env=env or SOON)
        started.append(router)
        process.eventually("the endpoints are ready", lambda: router.ready_endpoints() == len(urls))
        return router

    return serve


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_request_is_a_tree_of_spans(serve, protocol: str) -> None:
    spoken = {"grpc": "grpc", "http": "http/protobuf"}[protocol]
    with Collector(protocol) as collector, process.workers(2) as workers:
        router = serve(f"{{endpoint: '{collector.url}', protocol: {spoken}, sampleRatio: 0, serviceName: tested}}",
                       [worker.url for worker in workers],
                       env=SOON | {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue", "OTEL_RESOURCE_ATTRIBUTES": "service.name=no"})
        answer = chat(router.url, f"00-{TRACE}-{CALLER}-01", stream=True)
        assert answer.status_code == 200
        spans = collector.trace(TRACE)
        request, orchestration = only(spans, "gateway.request"), only(spans, "gateway.request_orchestration")
        assert (request.parent, request.kind, request.service) == (CALLER, Kinds.SPAN_KIND_SERVER, "tested")
        assert request.attributes["http.response.status_code"] == 200 and not request.failed
        assert request.attributes["gen_ai.request.id"] == answer.headers["x-request-id"]
        assert orchestration.parent == request.id
        assert orchestration.attributes["gen_ai.request.model"] == orchestration.attributes["target_model"] == MODEL
        assert orchestration.attributes["request_prio"] == 0
        profile = only(spans, "run_scheduler_profile")
        assert profile.parent == orchestration.id
        assert profile.attributes["llm_d.epp.scheduling.profile.name"] == "default"
        found = only(spans, "filter_endpoints").attributes
        assert found["llm_d.epp.filter.candidate_endpoints"] == found["llm_d.epp.filter.filtered_endpoints"] == 2
        scoring, scorer = only(spans, "llm_d.epp.scoring"), only(spans, "llm_d.epp.scorer.prefix-cache-scorer")
        assert (scoring.parent, scorer.parent) == (profile.id, scoring.id)
        assert scorer.attributes["llm_d.epp.scorer.weight"] == 3 and scorer.attributes["llm_d.epp.scorer.score.max"] == 0
        picked = only(spans, "pick_endpoints").attributes
        assert picked["llm_d.epp.picker.candidate_endpoints"] == len(picked["llm_d.epp.picker.top_scores"]) == 2
        attempt = only(spans, "gateway.attempt")
        assert (attempt.parent, attempt.kind, attempt.events) == (request.id, Kinds.SPAN_KIND_CLIENT, ("first_byte",))
        assert attempt.attributes["server.port"] in [worker.port for worker in workers]
        for name, [span] in ((name, found) for name, found in spans.items() if len(found) == 1):
            assert request.start <= span.start <= span.end <= request.end, name
        assert collector.headers[0]["x-tenant"] == "blue"


def test_model_servers_get_the_context(serve) -> None:
    with Collector() as collector, engine.Engine(model=MODEL) as server:
        router = serve(f"{{endpoint: '{collector.url}', sampleRatio: 1}}", [server.url])

        def told() -> str:
            return server.posts("/v1/chat/completions")[-1].headers["traceparent"]

        chat(router.url, f"00-{TRACE}-{CALLER}-01")
        attempt = only(collector.trace(TRACE), "gateway.attempt")
        assert told() == f"00-{TRACE}-{attempt.id}-01"
        # Whoever decided against recording stays the parent.
        other = "0af7651916cd43dd8448eb211c80319c"
        chat(router.url, f"00-{other}-{CALLER}-00")
        assert told() == f"00-{other}-{CALLER}-00"
        chat(router.url)
        trace = told().split("-")[1]
        assert trace not in (TRACE, other) and only(collector.trace(trace), "gateway.request").parent == ""
        assert not any(span.trace == other for span in collector.spans)


def test_failures_are_seen(serve) -> None:
    with Collector() as collector, engine.Engine(model=MODEL, fail=503) as bad, engine.Engine(model=MODEL) as good:
        router = serve(f"{{endpoint: '{collector.url}', sampleRatio: 1}}", [bad.url, good.url],
                       scheduling="\n    plugins: [{type: random-picker}]\n")
        while not bad.posts("/v1/chat/completions"):
            assert chat(router.url).status_code == 200
        process.eventually("the retry was exported", lambda: any(one.failed for one in collector.named("gateway.attempt")))
        [first] = [one for one in collector.named("gateway.attempt") if one.failed]
        assert first.attributes["error.type"] == "upstream_unavailable"
        assert first.attributes["server.port"] == bad.port
        [second] = [one for one in collector.trace(first.trace)["gateway.attempt"] if not one.failed]
        assert second.attributes["http.request.resend_count"] == 1
        assert chat(router.url, f"00-{TRACE}-{CALLER}-01", model="nobody/serves").status_code == 404
        spans = collector.trace(TRACE)
        assert only(spans, "gateway.request").failed and only(spans, "gateway.request_orchestration").failed
        assert only(spans, "gateway.request").attributes["error.type"] == "model_not_found"
        assert "gateway.attempt" not in spans


def test_disaggregation_is_seen_and_counted(serve) -> None:
    with Collector() as collector, process.workers(2) as workers:
        router = serve(f"{{endpoint: '{collector.url}', sampleRatio: 0}}", [worker.url for worker in workers], DISAGGREGATED,
                       labels=("prefill", "decode"))
        assert chat(router.url, f"00-{TRACE}-{CALLER}-01").status_code == 200
        spans = collector.trace(TRACE)
        decided = [span.attributes["llm_d.epp.profile_handler.decision"] for span in spans["pick_disagg_profile"]]
        assert decided == ["run_decode", "run_prefill", "complete"]
        prepared = only(spans, "prepare_disaggregation").attributes
        assert prepared["llm_d.epp.pd.disaggregation_used"] is True
        assert prepared["llm_d.epp.pd.prefill_pod_port"] == str(workers[0].port)
        assert prepared["llm_d.epp.encode.disaggregation_used"] is False
        page = router.get("/metrics").text
        counted = {"model_name": MODEL, "decision_type": "prefill-decode"}
        assert process.metric(page, "llm_d_epp_disagg_decision_total", plugin_type="disagg-profile-handler", **counted) == 1
        assert process.metric(page, "llm_d_inference_scheduler_disagg_decision_total", **counted) == 1


def test_a_collector_that_is_away_costs_spans_and_no_request(serve) -> None:
    port = process.free_port()
    with process.workers(1) as workers:
        router = serve(f"{{endpoint: 'http://127.0.0.1:{port}', sampleRatio: 1}}", [workers[0].url],
                       env={"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_EXPORTER_OTLP_TIMEOUT": "500"})

        def spans(name: str, **labels: str) -> float:
            return process.metric(router.get("/metrics").text, f"weir_trace_spans_{name}_total", **labels)

        for _ in range(5):
            assert chat(router.url).status_code == 200
        process.eventually("spans were dropped", lambda: spans("dropped", reason="queue_full") > 0)
        process.eventually("spans could not be sent", lambda: spans("dropped", reason="export_failed") > 0, within=20)
        assert spans("exported") == 0
        assert router.text("err").count("traces cannot be exported") == 1
        with Collector(port=port) as collector:
            def arrived() -> bool:
                chat(router.url)
                return bool(collector.spans)

            process.eventually("traces are exported again", arrived, within=20)
            router.expect("traces are exported again", "err")


def test_the_end_of_the_process_sends_what_waits(serve) -> None:
    with Collector() as collector, process.workers(1) as workers:
        router = serve(f"{{endpoint: '{collector.url}', sampleRatio: 1}}", [workers[0].url], env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
        assert chat(router.url).status_code == 200
        assert collector.spans == []
        router.signal(process.SIGTERM)
        assert router.wait() == 0
        assert len(collector.named("gateway.request")) == 1


def test_the_environment_alone_is_enough(started: list[process.Process]) -> None:
    router = process.up("--workers", "1", env=SOON | {"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "always_on"})
    started.append(router)
    chat(router.url)
    line = router.expect(r'^\{.*"name":"gateway.request".*\}$', "out")[0]
    assert json.loads(line)["attributes"]["url.path"] == "/v1/chat/completions"


def test_what_is_refused(write) -> None:
    head = "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0'}\n"
    pools = "pools: [{name: a, endpoints: {static: [{url: 'http://127.0.0.1:1'}]}}]\n"

    def refused(tracing: str) -> str:
        path: pathlib.Path = write("weir.yaml", f"{head}{pools}tracing: {tracing}\n")
        done = process.run("check", "--config", path)
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "no URL of a collector" in refused("{endpoint: 'collector:4317'}")
    assert "sampleRatio must be from 0 to 1" in refused("{sampleRatio: 1.5}")
    assert "http/protobuf" in refused("{protocol: http/protobufs}")
