"""A model server that speaks gRPC: vLLM's engine service and Vertex AI's prediction service, as far as a router sees them.

Messages are written by hand: what is sent and what arrives can then be compared byte for byte.
"""

from __future__ import annotations

import json
from concurrent import futures
from collections.abc import Iterator

import grpc

GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"
EMBED = "/vllm.grpc.engine.VllmEngine/Embed"
MODEL_INFO = "/vllm.grpc.engine.VllmEngine/GetModelInfo"
CHAT = "/google.cloud.aiplatform.v1.PredictionService/ChatCompletions"
RAW_PREDICT = "/google.cloud.aiplatform.v1.PredictionService/RawPredict"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def generate_request(ids: list[int], stream: bool, max_tokens: int = 8) -> bytes:
    tokenized = part(1, b"text") + part(2, b"".join(map(varint, ids)))
    return part(1, b"request-1") + part(2, tokenized) + part(4, number(8, max_tokens)) + number(5, int(stream))


def text_request(text: str) -> bytes:
    return part(1, b"request-2") + part(3, text.encode()) + part(4, number(8, 4)) + number(5, 1)


def generated(prompt: int, completion: int, cached: int, last: bool) -> bytes:
    """A `GenerateResponse`: a chunk, or the complete answer."""
    counts = [(3, prompt), (4, completion), (5, cached)] if last else [(2, prompt), (3, completion), (4, cached)]
    return part(2 if last else 1, part(1, b"\x01\x02") + b"".join(number(*one) for one in counts))


def http_body(document: bytes, content_type: bytes = b"application/json") -> bytes:
    """A request or an answer that carries a `google.api.HttpBody`."""
    return part(1, content_type) + part(2, document)


def predict(document: dict) -> bytes:
    return part(1, b"projects/p/locations/l/endpoints/e") + part(2, http_body(json.dumps(document).encode()))


class GrpcEngine(grpc.GenericRpcHandler):
    """Answers every method it knows, and remembers what it was sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> GrpcEngine:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        def remember(request: bytes) -> None:
            self.seen.append((call.method, request))

        def stream(request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
            remember(request)
            if call.method == CHAT:
                for tokens in (1, 2):
                    usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
                    yield http_body(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n", b"text/event-stream")
                yield http_body(b"data: [DONE]\n\n", b"text/event-stream")
                return
            for tokens in range(1, 4):
                yield generated(5, tokens, 2, last=False)
            yield generated(5, 3, 2, last=True)

        def one(request: bytes, _: grpc.ServicerContext) -> bytes:
            remember(request)
            if call.method == RAW_PREDICT:
                return http_body(json.dumps({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}).encode())
            return number(2, 5) if call.method == EMBED else part(1, b"a model")

        if call.method in (GENERATE, CHAT):
            return grpc.unary_stream_rpc_method_handler(stream)
        if call.method in (EMBED, MODEL_INFO, RAW_PREDICT):
            return grpc.unary_unary_rpc_method_handler(one)
        return None
