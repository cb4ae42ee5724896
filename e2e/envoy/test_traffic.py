"""Ordinary traffic: every request is one stream to the picker, and none fails."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import anthropic
import collector
import engine
import http2
import httpx
import openai
import process
import proxy
import pytest
from process import MODEL

HELLO = [{"role": "user", "content": "Hello there."}]
# What must not be counted while everything is well.
BAD = ("streams_failed", "message_timeouts", "failure_mode_allowed", "spurious_msgs_received", "rejected_header_mutations",
       "http_not_ok_resp_received")


@dataclass
class Standing:
    """What all tests of this file share, and how many requests they sent."""

    picker: proxy.Picker
    envoy: proxy.Envoy
    sent: int = 0

    @property
    def url(self) -> str:
        return self.envoy.url

    def client(self, requests: int = 1) -> openai.OpenAI:
        """A client that sends so many requests."""
        self.sent += requests
        return openai.OpenAI(base_url=self.url + "/v1", api_key="unused", max_retries=0, timeout=30)

    def messages_client(self) -> anthropic.Anthropic:
        """The same of Anthropic's API."""
        self.sent += 1
        return anthropic.Anthropic(base_url=self.url, api_key="unused", max_retries=0, timeout=30)


def answers_stream_through_the_picker(bootstrap: proxy.Bootstrap) -> None:
    bootstrap.mode.update({"response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND"})


@pytest.fixture(scope="module", params=["as shipped", "tls, full duplex"])
def standing(request: pytest.FixtureRequest, tmp_path_factory, fleet: list[process.Worker]) -> Iterator[Standing]:
    site = proxy.Site(tmp_path_factory.mktemp("standing"), fleet)
    full = request.param != "as shipped"
    try:
        picker = site.picker(tls=full)
        envoy = site.envoy(picker, answers_stream_through_the_picker if full else None)
        standing = Standing(picker, envoy)
        yield standing
        process.eventually("no request is in flight", lambda: picker.inflight() == 0)
        process.eventually("every stream has ended", lambda: envoy.ext_proc("streams_closed") == envoy.ext_proc("streams_started"))
        assert envoy.ext_proc("streams_started") == standing.sent
        assert {name: envoy.ext_proc(name) for name in BAD} == dict.fromkeys(BAD, 0)
    finally:
        site.stop()


def test_an_answer(standing: Standing) -> None:
    answer = standing.client().chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 5
    assert answer.model == MODEL


def test_a_stream(standing: Standing) -> None:
    stream = standing.client().chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=40, stream=True, stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert chunks[-1].usage.completion_tokens == 40
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) >= 38


def test_a_message(standing: Standing) -> None:
    answer = standing.messages_client().messages.create(model=MODEL, messages=HELLO, max_tokens=5, system="Be brief.")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    assert 1 <= answer.usage.output_tokens <= 5 and answer.content[0].text


def test_a_stream_of_a_message(standing: Standing) -> None:
    with standing.messages_client().messages.stream(model=MODEL, messages=HELLO, max_tokens=30) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.content[0].text == text
    assert 1 <= final.usage.output_tokens <= 30 and final.stop_reason in ("max_tokens", "end_turn")


def test_counting_tokens(standing: Standing) -> None:
    short, long = (
        standing.messages_client().messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": text}]).input_tokens
        for text in ("Hello.", "Hello. " * 500)
    )
    assert 0 < short < long


def test_a_message_that_is_none_is_refused_in_the_clients_words(standing: Standing) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        standing.messages_client().messages.create(model=MODEL, messages=[], max_tokens=5)
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_requests_without_a_body(standing: Standing) -> None:
    assert standing.client().models.list().data[0].id == MODEL


@pytest.mark.parametrize("megabytes", [1, 3])
def test_large_prompts(standing: Standing, fleet: list[process.Worker], megabytes: int) -> None:
    prompt = "prompts " * (megabytes * 125_000)
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 1}
    direct = httpx.post(fleet[0].url + "/v1/completions", json=body, timeout=60).json()["usage"]["prompt_tokens"]
    answer = standing.client().completions.create(model=MODEL, prompt=prompt, max_tokens=1)
    assert answer.usage.prompt_tokens == direct > megabytes * 100_000


def test_http2(standing: Standing) -> None:
    standing.sent += 1
    with httpx.Client(http1=False, http2=True) as client:
        answer = client.post(standing.url + "/v1/chat/completions", json={"model": MODEL, "messages": HELLO, "max_tokens": 3})
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")


def test_http2_with_trailers(standing: Standing) -> None:
    standing.sent += 1
    body = json.dumps({"model": MODEL, "messages": HELLO, "max_tokens": 3}).encode()
    answer = http2.post(standing.envoy.port, "/v1/chat/completions", body, [("x-checksum", "abc")])
    assert answer.status == 200
    assert json.loads(answer.body)["usage"]["completion_tokens"] <= 3


def test_many_streams_at_once(standing: Standing) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> int:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Stream {number}."}], max_tokens=20, stream=True,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )
        usage = None
        async for chunk in stream:
            usage = chunk.usage or usage
        return usage.completion_tokens

    async def main() -> list[int]:
        async with openai.AsyncOpenAI(base_url=standing.url + "/v1", api_key="unused", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(64)))

    standing.sent += 64
    assert asyncio.run(main()) == [20] * 64
    assert all(endpoint["totalRequests"] > 0 for endpoint in standing.picker.endpoints()), "some worker got nothing"


def test_the_same_beginning_goes_to_the_same_worker(standing: Standing) -> None:
    def served() -> list[int]:
        return [endpoint["totalRequests"] for endpoint in standing.picker.endpoints()]

    client = standing.client(6)
    prompt = "A long beginning that many requests share. " * 100
    client.completions.create(model=MODEL, prompt=prompt, max_tokens=1)
    before = served()
    for number in range(5):
        client.completions.create(model=MODEL, prompt=f"{prompt} {number}", max_tokens=1)
    assert sorted(after - first for after, first in zip(served(), before, strict=True)) == [0, 5]


def test_clients_cannot_choose_the_server(standing: Standing) -> None:
    standing.sent += 1
    answer = httpx.post(
        standing.url + "/v1/completions", json={"model": MODEL, "prompt": "Hello", "max_tokens": 1}, timeout=20,
        headers={"x-gateway-destination-endpoint": "127.0.0.1:1"},
    )
    assert answer.status_code == 200


def test_what_the_picker_cannot_read_is_refused(standing: Standing) -> None:
    standing.sent += 1
    answer = httpx.post(standing.url + "/v1/chat/completions", content=b'{"model": ', timeout=20,
                        headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_errors_of_workers_arrive(standing: Standing) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        standing.client().chat.completions.create(model=MODEL, messages=HELLO, max_tokens=10_000_000)
    assert refused.value.status_code == 400


def test_requests_are_traced_and_the_context_reaches_the_worker(monkeypatch, tmp_path) -> None:
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with collector.Collector() as spans, engine.Engine(model=MODEL) as server:
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}.items():
            monkeypatch.setenv(name, value)
        site = proxy.Site(tmp_path, [server])
        try:
            envoy = site.envoy(site.picker())
            answer = httpx.post(envoy.url + "/v1/chat/completions", json={"model": MODEL, "messages": HELLO},
                                headers={"traceparent": f"00-{trace}-{caller}-01"}, timeout=30)
            assert answer.status_code == 200
            found = spans.trace(trace)
            [request], [attempt] = found["gateway.request"], found["gateway.attempt"]
            assert (request.parent, request.service, attempt.parent) == (caller, "llm-d-epp", request.id)
            assert request.attributes["http.response.status_code"] == 200
            assert server.posts("/v1/chat/completions")[0].headers["traceparent"] == f"00-{trace}-{attempt.id}-01"
        finally:
            site.stop()
