"""What breaks, and what becomes of requests then."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import httpx
import openai
import process
import proxy
import pytest
from process import MODEL

SLOW = ("--time-to-first-token", "20ms", "--inter-token-latency", "20ms", "--max-model-len", "8192")


def complete(envoy: proxy.Envoy, **more) -> httpx.Response:
    return httpx.post(envoy.url + "/v1/completions", json={"model": MODEL, "prompt": "Hello", "max_tokens": 1, **more}, timeout=20)


@contextlib.contextmanager
def stream(envoy: proxy.Envoy, tokens: int = 2000):
    """A stream that has begun."""
    body = {"model": MODEL, "prompt": "Count.", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    with httpx.Client(timeout=20) as client, client.stream("POST", envoy.url + "/v1/completions", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        next(lines)
        yield lines


def running(workers: list[process.Worker]) -> float:
    return sum(worker.metric("vllm:num_requests_running") for worker in workers)


def test_a_worker_dies_in_the_middle_of_an_answer(site: proxy.Site) -> None:
    with process.workers(2, *SLOW) as workers:
        picker = site.picker(workers=workers)
        envoy = site.envoy(picker)
        with stream(envoy) as lines:
            [victim] = [worker for worker in workers if running([worker]) == 1]
            victim.signal(process.SIGKILL)
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        process.eventually("its death is known", lambda: picker.ready() == 1)
        assert [complete(envoy).status_code for _ in range(10)] == [200] * 10
        process.eventually("nothing is in flight", lambda: picker.inflight() == 0)
        assert envoy.ext_proc("streams_failed") == 0


def test_a_client_leaves(site: proxy.Site) -> None:
    with process.workers(1, *SLOW) as workers:
        picker = site.picker(workers=workers)
        envoy = site.envoy(picker)
        with stream(envoy) as lines:
            next(lines)
            assert running(workers) == 1
            assert picker.inflight() == 1
        process.eventually("the worker is free", lambda: running(workers) == 0)
        process.eventually("nothing is in flight", lambda: picker.inflight() == 0)


@dataclass
class Tally:
    complete: int = 0
    refused: int = 0
    cut_off: list[str] = field(default_factory=list)


async def load(envoy: proxy.Envoy, tally: Tally, stop: asyncio.Event) -> None:
    async def customer(client: openai.AsyncOpenAI) -> None:
        while not stop.is_set():
            began = False
            try:
                answer = await client.completions.create(
                    model=MODEL, prompt="Count.", max_tokens=10, stream=True, stream_options={"include_usage": True},
                    extra_body={"ignore_eos": True},
                )
                async for chunk in answer:
                    began = True
                    usage = chunk.usage
                assert usage.completion_tokens == 10
                tally.complete += 1
            except openai.InternalServerError:
                tally.refused += 1
                await asyncio.sleep(0.01)
            except Exception as error:  # noqa: BLE001
                tally.cut_off.append(f"{'after' if began else 'before'} the first byte: {error!r}")

    async with openai.AsyncOpenAI(base_url=envoy.url + "/v1", api_key="unused", max_retries=0, timeout=20) as client:
        await asyncio.gather(*(customer(client) for _ in range(16)))


async def until(condition) -> None:
    for _ in range(1000):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


def test_the_picker_is_restarted_under_load(site: proxy.Site) -> None:
    """Whoever has an answer keeps it; whoever asks while there is no picker is told so; then all goes on."""

    async def main(envoy: proxy.Envoy, picker: proxy.Picker) -> tuple[Tally, proxy.Picker]:
        tally, stop = Tally(), asyncio.Event()
        customers = asyncio.create_task(load(envoy, tally, stop))
        try:
            await until(lambda: tally.complete > 32)
            picker.signal(process.SIGTERM)
            assert await asyncio.to_thread(picker.wait) == 0
            refused = tally.refused
            await until(lambda: tally.refused > refused + 8)
            again = await asyncio.to_thread(lambda: site.picker("--drain-timeout", "1s", workers=workers, ports=picker.ports))
            await asyncio.to_thread(envoy.picker_is_healthy)
            refused, done = tally.refused, tally.complete
            await until(lambda: tally.complete > done + 32)
            assert tally.refused <= refused + 16, "requests that were on their way, and no others"
        finally:
            stop.set()
            await customers
        return tally, again

    with process.workers(2, *SLOW) as workers:
        # Drained quickly: Envoy keeps its connection until it is closed.
        picker = site.picker("--drain-timeout", "1s", workers=workers)
        envoy = site.envoy(picker)
        tally, again = asyncio.run(main(envoy, picker))
        assert tally.cut_off == []
        process.eventually("nothing is in flight", lambda: again.inflight() == 0)


def test_no_picker_is_an_error_and_not_a_guess(site: proxy.Site) -> None:
    picker = site.picker()
    envoy = site.envoy(picker)
    assert complete(envoy).status_code == 200
    picker.signal(process.SIGKILL)
    picker.wait()
    assert complete(envoy).status_code == 500
    site.picker(ports=picker.ports)
    envoy.picker_is_healthy()
    assert complete(envoy).status_code == 200


def test_an_empty_pool_is_503(site: proxy.Site) -> None:
    picker = site.picker()
    envoy = site.envoy(picker)
    picker.write([])
    process.eventually("the list is empty", lambda: picker.endpoints() == [])
    answer = complete(envoy)
    assert answer.status_code == 503
    assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
    picker.write([worker.url for worker in site.workers])
    process.eventually("the list is full again", lambda: picker.ready() == 2)
    assert complete(envoy).status_code == 200


NOBODY_FITS = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: label-selector-filter, parameters: {matchLabels: {llm-d.ai/role: nobody}}}
- {type: queue-scorer}
"""


def test_filters_that_leave_nobody_are_429(site: proxy.Site) -> None:
    envoy = site.envoy(site.picker(config=NOBODY_FITS))
    answer = complete(envoy)
    assert answer.status_code == 429
    assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
