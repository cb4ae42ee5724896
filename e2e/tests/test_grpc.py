"""gRPC through the gateway: vLLM's engine service, with a real client and server."""

import grpc
import grpc_engine
import httpx
import process
import pytest
from engine import Engine
from grpc_engine import CHAT, EMBED, GENERATE, MODEL_INFO, GrpcEngine

PAGE = b"vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n"

# The servers' numbers are on a page of their own, for they speak nothing but gRPC on their ports.
CONFIG = """
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {{http: "127.0.0.1:0", admin: "127.0.0.1:0"}}
pools:
  - name: grpc
    models: [m]
    endpoints:
      static: [{servers}]
    scheduling:
      plugins:
        - {{type: vllmgrpc-parser}}
        - {{type: vertexai-parser}}
        - {{type: queue-scorer}}
        - {{type: metrics-data-source, parameters: {{port: {page}}}}}
        - {{type: core-metrics-extractor}}
      requestHandler:
        parsers: [{{pluginRef: vllmgrpc-parser}}, {{pluginRef: vertexai-parser}}]
      dataLayer:
        sources: [{{pluginRef: metrics-data-source, extractors: [{{pluginRef: core-metrics-extractor}}]}}]
"""


def serve(started: list[process.Process], write, page: Engine, *ports: int) -> process.Router:
    servers = ", ".join(f'{{name: s{port}, url: "http://127.0.0.1:{port}"}}' for port in ports)
    router = process.serve(write("grpc.yaml", CONFIG.format(servers=servers, page=page.port)))
    started.append(router)
    process.eventually("all are ready", lambda: router.ready_endpoints() == len(ports))
    return router


def channel(router: process.Router) -> grpc.Channel:
    return grpc.insecure_channel(router.url.removeprefix("http://").removesuffix("/v1"))


def inflight(router: process.Router) -> int:
    return sum(one["inflightRequests"] for one in router.endpoints())


def test_calls_pass_with_their_trailers(started: list[process.Process], write) -> None:
    with GrpcEngine() as engine, Engine(page=PAGE) as page:
        router = serve(started, write, page, engine.port)
        with channel(router) as calls:
            request = grpc_engine.generate_request([1, 300, 70_000] * 40, stream=True)
            call = calls.unary_stream(GENERATE)(request, timeout=20)
            answers = list(call)
            assert answers == [grpc_engine.generated(5, tokens, 2, last=False) for tokens in (1, 2, 3)] + [
                grpc_engine.generated(5, 3, 2, last=True)]
            assert call.code() is grpc.StatusCode.OK
            assert dict(call.initial_metadata())["x-weir-endpoint"] == f"127.0.0.1:{engine.port}"
            assert engine.seen[-1] == (GENERATE, request), "a message arrives as it was sent"
            long = grpc_engine.text_request("Some text. " * 30_000)
            assert len(list(calls.unary_stream(GENERATE)(long, timeout=20))) == 4
            assert engine.seen[-1] == (GENERATE, long)
            embed = grpc_engine.generate_request([1, 2], stream=False)
            assert calls.unary_unary(EMBED)(embed, timeout=20) == grpc_engine.number(2, 5)
            assert calls.unary_unary(MODEL_INFO)(b"\xff unread", timeout=20) == grpc_engine.part(1, b"a model")
            assert len(list(calls.unary_stream(CHAT)(grpc_engine.predict(
                {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}), timeout=20))) == 3
        process.eventually("no request is in flight", lambda: inflight(router) == 0)
        text = router.get("/metrics").text
        assert process.metric(text, "llm_d_epp_request_output_tokens_count") >= 3
        assert process.metric(text, "weir_requests_total", outcome="complete") == 5


def test_what_is_refused_is_refused_as_grpc_refuses(started: list[process.Process], write) -> None:
    with GrpcEngine() as engine, Engine(page=PAGE) as page:
        router = serve(started, write, page, engine.port)
        with channel(router) as calls:
            with pytest.raises(grpc.RpcError) as refused:
                list(calls.unary_stream(GENERATE)(b"\x12\xff", timeout=20))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert refused.value.details()
        assert engine.seen == []
        # gRPC is no HTTP/1.1.
        answer = httpx.post(router.url.removesuffix("/v1") + GENERATE, headers={"content-type": "application/grpc"}, timeout=10)
        assert answer.headers["grpc-status"] == "3" and "HTTP/2" in answer.headers["grpc-message"]


def test_a_call_goes_elsewhere_when_its_server_is_gone(started: list[process.Process], write) -> None:
    with GrpcEngine() as first, Engine(page=PAGE) as page:
        with GrpcEngine() as second:
            router = serve(started, write, page, first.port, second.port)
            with channel(router) as calls:
                embed = grpc_engine.generate_request([1, 2], stream=False)
                for _ in range(40):
                    calls.unary_unary(EMBED)(embed, timeout=20)
                assert first.seen and second.seen
                second.server.stop(None).wait()
                before = len(first.seen)
                for _ in range(20):
                    calls.unary_unary(EMBED)(embed, timeout=20)
                assert len(first.seen) == before + 20
        process.eventually("no request is in flight", lambda: inflight(router) == 0)


def test_a_client_that_leaves_cancels_its_call(started: list[process.Process], write) -> None:
    with GrpcEngine() as engine, Engine(page=PAGE) as page:
        router = serve(started, write, page, engine.port)
        with channel(router) as calls:
            call = calls.unary_stream(GENERATE)(grpc_engine.generate_request([1], stream=True), timeout=20)
            next(call)
            call.cancel()
        process.eventually("no request is in flight", lambda: inflight(router) == 0)


def test_no_server_is_a_status(started: list[process.Process], write) -> None:
    with Engine(page=PAGE) as page:
        port = process.free_port()
        router = serve(started, write, page, port)
        with channel(router) as calls:
            with pytest.raises(grpc.RpcError) as refused:
                calls.unary_unary(EMBED)(grpc_engine.generate_request([1], stream=False), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, refused.value
        assert "could not be reached" in refused.value.details()
