"""One of four workers is killed under load."""

import asyncio
from dataclasses import dataclass

import openai
import process
from process import MODEL

CLIENTS = 48


@dataclass
class Tally:
    complete: int = 0
    lost_before_first_byte: int = 0
    ended_by_error_event: int = 0
    cut_off: int = 0
    first_error: str = ""


async def one_request(client: openai.AsyncOpenAI, number: int, tally: Tally) -> None:
    began = False
    try:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Request {number}."}], max_tokens=30, stream=True,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )
        tokens = None
        async for chunk in stream:
            began = True
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
        if tokens == 30:
            tally.complete += 1
        else:
            tally.cut_off += 1
            tally.first_error = tally.first_error or "a stream ended early and said nothing"
    except openai.APIError as error:
        # The client raises APIError itself, and not one of its subclasses, for an error event inside a stream.
        clear = type(error) is openai.APIError and bool(error.message)
        if not began:
            tally.lost_before_first_byte += 1
        elif clear:
            tally.ended_by_error_event += 1
        else:
            tally.cut_off += 1
        if not (began and clear):
            tally.first_error = tally.first_error or repr(error)
    except Exception as error:  # noqa: BLE001
        tally.cut_off += 1
        tally.first_error = tally.first_error or repr(error)


async def load(router: process.Router, victim: process.Worker) -> Tally:
    tally = Tally()
    stop = asyncio.Event()
    async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as client:

        async def customer(first: int) -> None:
            number = first
            while not stop.is_set():
                await one_request(client, number, tally)
                number += CLIENTS

        customers = [asyncio.create_task(customer(number)) for number in range(CLIENTS)]
        for _ in range(500):
            await asyncio.sleep(0.02)
            if tally.complete > 2 * CLIENTS and victim.metric("vllm:num_requests_running") >= 4:
                break
        assert victim.metric("vllm:num_requests_running") >= 4, "the victim must be busy, or this shows nothing"
        victim.signal(process.SIGKILL)
        before = tally.complete
        await asyncio.sleep(2.5)
        stop.set()
        await asyncio.gather(*customers)
        assert tally.complete > before + CLIENTS, "traffic went on"
    return tally


def test_nobody_notices_who_had_no_answer_yet(started: list[process.Process]) -> None:
    # A long time to the first token, so that many requests have none when the worker dies.
    with process.workers(4, "--time-to-first-token", "150ms", "--inter-token-latency", "8ms", "--max-num-seqs", "64") as fleet:
        router = process.up(*(argument for worker in fleet for argument in ("--endpoint", worker.url)))
        started.append(router)
        process.eventually("all workers are ready", lambda: router.ready_endpoints() == 4)
        tally = asyncio.run(load(router, fleet[1]))
        assert tally.lost_before_first_byte == 0, tally
        assert tally.cut_off == 0, tally
        assert tally.ended_by_error_event > 0, tally
        process.eventually("the dead worker is known to be dead", lambda: router.ready_endpoints() == 3)


def test_all_workers_gone_is_said(started: list[process.Process]) -> None:
    with process.workers(1) as [worker]:
        router = process.up("--endpoint", worker.url)
        started.append(router)
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        worker.signal(process.SIGKILL)
        worker.wait()
        process.eventually("it is known", lambda: router.get("/readyz").status_code == 503)
        with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0) as client:
            try:
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Anybody?"}])
            except openai.InternalServerError as error:
                assert error.status_code == 503
                assert error.code == error.response.headers["x-weir-reason"] == "no_endpoints"
                assert int(error.response.headers["retry-after"]) >= 1
            else:
                raise AssertionError("nobody could have answered")
