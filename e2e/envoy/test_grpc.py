"""gRPC through Envoy: vLLM's engine service and Vertex AI's prediction service, with a real client and server."""

import pathlib
import types
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import grpc_engine
import httpx
import process
import proxy
import pytest
from engine import Engine
from grpc_engine import CHAT, EMBED, GENERATE, MODEL_INFO, RAW_PREDICT, GrpcEngine

# The server's numbers are on a page of its own, for it speaks nothing but gRPC on its port.
CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {{type: vllmgrpc-parser}}
- {{type: vertexai-parser}}
- {{type: prefix-cache-scorer}}
- {{type: metrics-data-source, parameters: {{port: {port}}}}}
- {{type: core-metrics-extractor}}
requestHandler:
  parsers: [{{pluginRef: vllmgrpc-parser}}, {{pluginRef: vertexai-parser}}]
dataLayer:
  sources: [{{pluginRef: metrics-data-source, extractors: [{{pluginRef: core-metrics-extractor}}]}}]
"""
PAGE = b"vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n"


def grpc_to_the_end(bootstrap: proxy.Bootstrap) -> None:
    """HTTP/2 to the model server, and answers pass by the picker, so that it counts tokens."""
    bootstrap.mode.update({"response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND"})
    options = bootstrap.cluster("epp")["typed_extension_protocol_options"]
    bootstrap.cluster("picked_endpoint")["typed_extension_protocol_options"] = options


@dataclass
class Standing:
    engine: GrpcEngine
    picker: proxy.Picker
    envoy: proxy.Envoy
    channel: grpc.Channel

    def stream(self, method: str, request: bytes) -> list[bytes]:
        return list(self.channel.unary_stream(method)(request, timeout=20))

    def one(self, method: str, request: bytes) -> bytes:
        return self.channel.unary_unary(method)(request, timeout=20)

    def metric(self, name: str) -> float:
        page = httpx.get(self.picker.admin + "/metrics", timeout=10).text
        lines = [line for line in page.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder: pathlib.Path = tmp_path_factory.mktemp("grpc")
    site = proxy.Site(folder, [])
    with GrpcEngine() as engine, Engine(page=PAGE) as page:
        try:
            server = types.SimpleNamespace(url=f"http://127.0.0.1:{engine.port}")
            picker = site.picker(workers=[server], config=CONFIG.format(port=page.port))
            envoy = site.envoy(picker, grpc_to_the_end)
            with grpc.insecure_channel(f"127.0.0.1:{envoy.port}") as channel:
                yield Standing(engine, picker, envoy, channel)
            process.eventually("no request is in flight", lambda: picker.inflight() == 0)
            assert envoy.ext_proc("streams_failed") == envoy.ext_proc("spurious_msgs_received") == 0
        finally:
            site.stop()


def counted(standing: Standing) -> dict[str, tuple[float, float]]:
    """Number and sum of each token histogram."""
    names = {"input": "request_input_tokens", "output": "request_output_tokens", "cached": "request_cached_tokens"}
    return {key: (standing.metric(f"llm_d_epp_{name}_count"), standing.metric(f"llm_d_epp_{name}_sum")) for key, name in names.items()}


def grown(standing: Standing, before: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    process.eventually("the request is counted", lambda: counted(standing)["input"][0] > before["input"][0])
    return {key: (now[0] - before[key][0], now[1] - before[key][1]) for key, now in counted(standing).items()}


@pytest.mark.parametrize("request_bytes", [grpc_engine.generate_request([1, 300, 70_000] * 40, stream=True),
                                           grpc_engine.text_request("Some text. " * 30_000)], ids=["token ids", "300 KB of text"])
def test_generation(standing: Standing, request_bytes: bytes) -> None:
    before = counted(standing)
    answers = standing.stream(GENERATE, request_bytes)
    assert answers == [grpc_engine.generated(5, tokens, 2, last=False) for tokens in (1, 2, 3)] + [
        grpc_engine.generated(5, 3, 2, last=True)]
    assert standing.engine.seen[-1] == (GENERATE, request_bytes), "a message arrives as it was sent"
    assert grown(standing, before) == {"input": (1, 5), "output": (1, 3), "cached": (1, 2)}


def test_embedding(standing: Standing) -> None:
    before = counted(standing)
    assert standing.one(EMBED, grpc_engine.generate_request([1, 2], stream=False)) == grpc_engine.number(2, 5)
    assert grown(standing, before)["input"] == (1, 5)


def test_other_methods_pass_unread(standing: Standing) -> None:
    assert standing.one(MODEL_INFO, b"\xff not a message that anybody reads") == grpc_engine.part(1, b"a model")
    assert standing.engine.seen[-1][0] == MODEL_INFO


def test_vertex(standing: Standing) -> None:
    chat = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    before = counted(standing)
    answers = standing.stream(CHAT, grpc_engine.predict(chat))
    assert len(answers) == 3 and b"[DONE]" in answers[-1]
    assert standing.engine.seen[-1] == (CHAT, grpc_engine.predict(chat))
    assert grown(standing, before) | {"cached": None} == {"input": (1, 7), "output": (1, 2), "cached": None}

    before = counted(standing)
    assert b'"total_tokens": 13' in standing.one(RAW_PREDICT, grpc_engine.predict({"input": "Hello", "model": "m"}))
    assert grown(standing, before) | {"cached": None} == {"input": (1, 9), "output": (1, 4), "cached": None}


def test_what_cannot_be_read_is_refused_as_grpc_refuses(standing: Standing) -> None:
    for method, request in ((GENERATE, b"\x12\xff"), (CHAT, grpc_engine.predict({"model": "m"}))):
        sent = len(standing.engine.seen)
        with pytest.raises(grpc.RpcError) as refused:
            standing.stream(method, request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value
        assert refused.value.details() and not refused.value.details().startswith("{")
        assert len(standing.engine.seen) == sent


def test_a_service_that_no_parser_knows_is_refused(standing: Standing) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        standing.one("/other.Service/Method", b"\x0a\x00")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value
