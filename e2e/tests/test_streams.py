"""Streams that are cancelled, and many of them at a time."""

import asyncio
import time

import openai
import process
from process import MODEL


def test_leaving_a_stream_frees_the_worker(started: list[process.Process]) -> None:
    with process.workers(1, "--time-to-first-token", "10ms", "--inter-token-latency", "20ms", "--max-model-len", "8192") as [worker]:
        router = process.up("--endpoint", worker.url)
        started.append(router)
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as client:
            stream = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Count."}], max_tokens=2000, stream=True,
                extra_body={"ignore_eos": True},
            )
            for number, _ in enumerate(stream):
                if number == 5:
                    break
            assert worker.metric("vllm:num_requests_running") == 1
            stream.close()
            closed = time.monotonic()
            process.eventually("nothing runs", lambda: worker.metric("vllm:num_requests_running") == 0, within=1.0)
            assert time.monotonic() - closed < 1.0
        process.eventually("the ledger is empty", lambda: router.endpoints()[0]["inflightRequests"] == 0, within=1.0)


def test_a_hundred_streams_at_once(router: process.Router) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> int:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Stream {number}."}], max_tokens=24, stream=True,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )
        usage = None
        async for chunk in stream:
            usage = chunk.usage or usage
        return usage.completion_tokens

    async def main() -> list[int]:
        async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(100)))

    assert asyncio.run(main()) == [24] * 100
    assert all(endpoint["totalRequests"] > 0 for endpoint in router.endpoints()), "some worker got nothing"


def test_short_streams_do_not_stall(client: openai.OpenAI, started: list[process.Process]) -> None:
    """Two peers lose 44 ms on each stream because they leave Nagle's algorithm on."""
    with process.workers(1) as [worker]:
        router = process.up("--endpoint", worker.url)
        started.append(router)
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as client:
            took = []
            for _ in range(20):
                began = time.monotonic()
                list(client.completions.create(
                    model=MODEL, prompt="Quick", max_tokens=8, stream=True, extra_body={"ignore_eos": True}))
                took.append(time.monotonic() - began)
        assert sorted(took)[len(took) // 2] < 0.035, took
