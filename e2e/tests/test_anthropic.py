"""The official Anthropic client against `weir up`, and the other APIs that simulated workers serve."""

import json
import uuid
from collections.abc import Iterator

import anthropic
import httpx
import openai
import process
import pytest
from process import MODEL

HELLO = [{"role": "user", "content": "Say hello to the weir."}]


@pytest.fixture
def claude(router: process.Router) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=router.url.removesuffix("/v1"), api_key="unused", max_retries=0, timeout=30) as one:
        yield one


def test_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model=MODEL, max_tokens=12, messages=HELLO)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    assert answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert 0 < answer.usage.output_tokens <= 12
    assert answer.usage.input_tokens > 0


def test_stream(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model=MODEL, max_tokens=12, system="Be brief.", messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert text and last.content[0].text == text
    assert 0 < last.usage.output_tokens <= 12
    assert last.usage.input_tokens > 0


def test_count_tokens(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model=MODEL, system="Be brief.", messages=HELLO)
    used = claude.messages.create(model=MODEL, max_tokens=1, system="Be brief.", messages=HELLO).usage
    assert counted.input_tokens == used.input_tokens > 0


def test_a_repeated_prompt_is_served_from_the_cache(claude: anthropic.Anthropic, router: process.Router) -> None:
    system = f"{uuid.uuid4()} " + "You are a careful assistant who answers in few words. " * 60
    cached, names = [], set()
    for _ in range(4):
        raw = claude.messages.with_raw_response.create(model=MODEL, max_tokens=2, system=system, messages=HELLO)
        names.add(raw.headers["x-weir-endpoint"])
        cached.append(raw.parse().usage.cache_read_input_tokens)
    assert len(names) == 1, "the same prefix went to different workers"
    assert all(tokens > 200 for tokens in cached[1:]), cached


def test_errors_are_anthropics(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="no-such-model", max_tokens=1, messages=HELLO)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert caught.value.response.headers["x-weir-reason"] == "model_not_found"
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(model=MODEL, max_tokens=1, messages=[])
    assert caught.value.body["error"]["message"].startswith("invalid messages request: must have valid messages field")


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, instructions="Be brief.", input="Say hello.", max_output_tokens=9)
    assert answer.output_text
    assert 0 < answer.usage.output_tokens <= 9
    events = list(client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=9, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


def test_tokens_in_tokens_out(router: process.Router) -> None:
    url = router.url.removesuffix("/v1") + "/inference/v1/generate"
    body = {"model": MODEL, "token_ids": list(range(2000)), "sampling_params": {"max_tokens": 4, "ignore_eos": True}}
    names = set()
    for _ in range(4):
        answer = httpx.post(url, json=body, timeout=30)
        assert len(answer.json()["choices"][0]["token_ids"]) == 4
        names.add(answer.headers["x-weir-endpoint"])
    assert len(names) == 1, "the same prefix went to different workers"
    streamed = httpx.post(url, json={**body, "stream": True}, timeout=30).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 4
    refused = httpx.post(url, json={"model": MODEL, "token_ids": "x"})
    assert (refused.status_code, refused.headers["x-weir-reason"]) == (400, "invalid_request")


def tokens(router: process.Router, name: str) -> float:
    return process.metric(router.get("/metrics").text, f"llm_d_epp_request_{name}_tokens_sum")


def test_tokens_are_counted_once(claude: anthropic.Anthropic, client: openai.OpenAI, router: process.Router) -> None:
    def used(call) -> tuple[float, float]:
        before = tokens(router, "input"), tokens(router, "output")
        call()
        # The end of an answer is counted after its last byte is on its way.
        process.eventually("the answer is counted", lambda: tokens(router, "output") > before[1])
        return tokens(router, "input") - before[0], tokens(router, "output") - before[1]

    usage = claude.messages.create(model=MODEL, max_tokens=5, messages=HELLO).usage
    expected = usage.input_tokens

    def anthropic_stream() -> None:
        with claude.messages.stream(model=MODEL, max_tokens=5, messages=HELLO) as stream:
            assert (seen := stream.get_final_message().usage.output_tokens)
            outputs.append(seen)

    def openai_stream() -> None:
        options = {"include_usage": True}
        *_, last = client.chat.completions.create(
            model=MODEL, max_tokens=5, messages=HELLO, stream=True, stream_options=options
        )
        outputs.append(last.usage.completion_tokens)

    def whole() -> None:
        outputs.append(client.chat.completions.create(model=MODEL, max_tokens=5, messages=HELLO).usage.completion_tokens)

    for call in (anthropic_stream, openai_stream, whole):
        outputs: list[int] = []
        assert used(call) == (expected, outputs[0]), call.__name__
