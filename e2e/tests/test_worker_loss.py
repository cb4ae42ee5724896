"""One of four workers is killed under load."""

import asyncio
from dataclasses import dataclass, field

import openai
import process
from process import MODEL

CLIENTS = 32


@dataclass
class Tally:
    complete: int = 0
    lost_before_first_byte: int = 0
    ended_by_error_event: int = 0
    cut_off: int = 0
    first_error: str = ""
    # Streams that have begun: the endpoint, and how many tokens are still to come.
    running: dict[int, tuple[str, int]] = field(default_factory=dict)


async def one_request(client: openai.AsyncOpenAI, number: int, tally: Tally) -> None:
    began, wanted = False, 20 + number % 37
    try:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Request {number}."}], max_tokens=wanted, stream=True,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )
        endpoint = stream.response.headers["x-weir-endpoint"]
        tokens, left = None, wanted
        async for chunk in stream:
            began, left = True, left - 1
            tally.running[number] = endpoint, left
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
        if tokens == wanted:
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
    finally:
        tally.running.pop(number, None)


async def load(router: process.Router, victim: process.Worker, name: str) -> Tally:
    tally = Tally()
    stop = asyncio.Event()

    async def customer(client: openai.AsyncOpenAI, first: int) -> None:
        number = first
        while not stop.is_set():
            await one_request(client, number, tally)
            number += CLIENTS
            await asyncio.sleep(0)

    def in_the_middle() -> int:
        return sum(endpoint == name and left > 8 for endpoint, left in tally.running.values())

    async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as client:
        customers = [asyncio.create_task(customer(client, number)) for number in range(CLIENTS)]
        try:
            for _ in range(1500):
                await asyncio.sleep(0.01)
                if tally.complete > CLIENTS and in_the_middle() >= 2 and len(tally.running) < CLIENTS - 4:
                    break
            else:
                raise AssertionError(f"the victim must be busy, or this shows nothing: {tally}")
            victim.signal(process.SIGKILL)
            before = tally.complete
            await asyncio.sleep(2.5)
        finally:
            stop.set()
            await asyncio.wait(customers, timeout=30)
        assert tally.complete > before + CLIENTS, "traffic went on"
    return tally


def test_nobody_notices_who_had_no_answer_yet(started: list[process.Process]) -> None:
    # A long time to the first token, so that many requests have none when the worker dies.
    with process.workers(4, "--time-to-first-token", "300ms", "--inter-token-latency", "30ms", "--max-num-seqs", "64") as fleet:
        router = process.up(*(argument for worker in fleet for argument in ("--endpoint", worker.url)))
        started.append(router)
        process.eventually("all workers are ready", lambda: router.ready_endpoints() == 4)
        tally = asyncio.run(load(router, fleet[1], router.name_of(fleet[1].url)))
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
