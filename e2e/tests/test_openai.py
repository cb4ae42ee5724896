"""The official client against `weir up`."""

import json
import uuid

import httpx
import openai
import process
import pytest
from process import MODEL

HELLO = [{"role": "user", "content": "Say hello to the weir."}]


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, n=3)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2]


def test_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] in (["stop"], ["length"])


def test_stream_with_usage(client: openai.OpenAI) -> None:
    *chunks, last = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=7, stream=True, stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    assert last.choices == []
    assert last.usage.completion_tokens == 7
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_async_client(router: process.Router) -> None:
    import asyncio

    async def main() -> str:
        async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(main())


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=9, extra_body={"ignore_eos": True})
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.completion_tokens == 9
    streamed = list(client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=9, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert "no-such-model" in caught.value.message
    assert caught.value.response.headers["x-weir-reason"] == "model_not_found"


def test_request_of_the_wrong_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=5)  # type: ignore[call-overload]
    assert caught.value.message


def test_body_that_is_no_json(router: process.Router) -> None:
    answer = httpx.post(router.url + "/chat/completions", content=b'{"model": "x', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == answer.headers["x-weir-reason"] == "invalid_json"
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_headers_of_an_answer(client: openai.OpenAI, router: process.Router) -> None:
    wanted = str(uuid.uuid4())
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=3, extra_headers={"x-request-id": wanted}
    )
    assert raw.headers["x-request-id"] == wanted
    assert raw.headers["x-weir-endpoint"] in {router.name_of(endpoint["url"].rstrip("/")) for endpoint in router.endpoints()}
    other = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=3)
    assert other.headers["x-request-id"] not in ("", wanted)


def test_a_repeated_prompt_is_served_from_the_cache(client: openai.OpenAI) -> None:
    system = f"{uuid.uuid4()} " + "You are a careful assistant who answers in few words. " * 60
    messages = [{"role": "system", "content": system}, *HELLO]
    hits, names = [], set()
    for _ in range(4):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, max_tokens=2)
        names.add(raw.headers["x-weir-endpoint"])
        hits.append(raw.parse().usage.prompt_tokens_details)
    assert len(names) == 1, "the same prefix went to different workers"
    assert all(details.cached_tokens > 200 for details in hits[1:]), hits


def test_routing_headers_of_clients_are_not_believed(client: openai.OpenAI, router: process.Router) -> None:
    stray = "127.0.0.1:9"
    headers = {name: stray for name in ("x-gateway-destination-endpoint", "x-prefiller-host-port", "x-data-parallel-host-port")}
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=2, extra_headers=headers)
    assert raw.status_code == 200


def test_paths_that_are_not_parsed_are_forwarded(router: process.Router) -> None:
    answer = httpx.post(router.url + "/audio/transcriptions", files={"file": ("a.wav", b"RIFF")}, data={"model": MODEL})
    # The simulated workers have no ears; that one of them said so is what counts.
    assert "x-weir-endpoint" in answer.headers
    assert "x-weir-reason" not in answer.headers


def test_http2_without_tls_is_spoken(router: process.Router) -> None:
    import shutil
    import subprocess

    if not shutil.which("curl"):
        pytest.skip("curl is missing")
    body = json.dumps({"model": MODEL, "messages": HELLO, "max_tokens": 2})
    done = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
         "-H", "content-type: application/json", "-d", body, router.url + "/chat/completions"],
        capture_output=True, text=True, timeout=30,
    )
    assert done.stdout == "2 200", done.stderr
