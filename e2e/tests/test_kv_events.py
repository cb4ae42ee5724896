"""KV-cache events: requests go where engines say that their prompt's beginning is."""

import json
import pathlib
import re
import struct
import threading
from collections.abc import Iterator

import httpx
import msgpack
import process
import pytest
import zmq
from process import MODEL

BLOCK = 16


def consecutive_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    import socket

    while True:
        first = process.free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def document(ports: list[int], socket_port: int, replay_port: int, **parameters: object) -> str:
    events = {"podDiscoveryConfig": {"socketPort": socket_port, "replaySocketPort": replay_port}}
    return json.dumps({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "RouterConfig",
        "listen": {"http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "pools": [{
            "name": "default",
            "endpoints": {"static": [{"name": f"e{port}", "url": f"http://127.0.0.1:{port}"} for port in ports]},
            "scheduling": {
                "plugins": [
                    {"type": "precise-prefix-cache-producer", "parameters": {"kvEventsConfig": events, **parameters}},
                    {"type": "prefix-cache-scorer", "parameters": {"prefixMatchInfoProducerName": "precise-prefix-cache-producer"}},
                ],
                "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "prefix-cache-scorer"}]}],
            },
        }],
    })


def complete(url: str, prompt: list[int]) -> tuple[str, int]:
    """Where it went, and how many tokens were cached there."""
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 1}
    answer = httpx.post(f"{url}/completions", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    details = answer.json()["usage"].get("prompt_tokens_details") or {}
    return answer.headers["x-weir-endpoint"], details.get("cached_tokens", 0)


def test_simulated_engines_are_followed_and_a_router_that_starts_late_knows_as_much(started, write) -> None:
    first, live, replay = consecutive_ports(2), consecutive_ports(2), consecutive_ports(2)
    started.append(process.Process(
        "sim", "--host", "127.0.0.1", "--port", str(first), "--count", "2", "--model", MODEL, "--enable-kvcache", "--kv-cache-size", "512",
        "--max-model-len", "8192", "--zmq-endpoint", f"tcp://*:{live}", "--kv-events-replay-endpoint", f"tcp://*:{replay}"))
    ports = [first, first + 1]
    for port in ports:
        process.eventually(f"{port} is healthy", lambda port=port: healthy(port))
    config = write("router.yaml", document(ports, live, replay, mode="precise"))
    router = process.serve(config)
    started.append(router)
    process.eventually("both endpoints are ready", lambda: router.ready_endpoints() == 2)
    prompts = [list(range(1_000 * number, 1_000 * number + 20 * BLOCK)) for number in range(1, 9)]
    homes = [complete(router.url, prompt)[0] for prompt in prompts]
    process.eventually("the router heard of all blocks", lambda: known_blocks(router) == len(prompts) * 20)
    for prompt, home in zip(prompts, homes, strict=True):
        # Nothing but the engine's own events tells where it is.
        assert [complete(router.url, prompt) for _ in range(5)] == [(home, 19 * BLOCK)] * 5
        assert complete(router.url, prompt[: 10 * BLOCK + 3])[0] == home
    assert len(set(homes)) == 2, "by chance all are in one place"

    router.stop()
    late = process.serve(config)
    started.append(late)
    process.eventually("the late router knows as much", lambda: known_blocks(late) == len(prompts) * 20)
    for prompt, home in zip(prompts, homes, strict=True):
        assert complete(late.url, prompt) == (home, 19 * BLOCK)


def known_blocks(router: process.Router) -> int:
    found = re.search(r"^llm_d_epp_prefix_indexer_size\{.*precise.*\} (\d+)", router.get("/metrics").text, re.M)
    return int(found[1]) if found else 0


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


class Publisher:
    """An engine's sockets, by libzmq and msgpack: a peer that weir did not write."""

    def __init__(self, live: int, replay: int, pod: str):
        self.context = zmq.Context()
        self.topic = f"kv@{pod}@{MODEL}".encode()
        self.live = self.context.socket(zmq.PUB)
        self.live.bind(f"tcp://127.0.0.1:{live}")
        self.replay_at = f"tcp://127.0.0.1:{replay}"
        self.stopping = threading.Event()
        self.kept: list[tuple[int, bytes]] = []
        self.asked: list[int] = []
        self.thread = threading.Thread(target=self._replay, daemon=True)
        self.thread.start()

    def _replay(self) -> None:
        # A socket belongs to one thread.
        with self.context.socket(zmq.ROUTER) as router:
            router.bind(self.replay_at)
            while not self.stopping.is_set():
                if router.poll(50):
                    self._answer(router)

    def _answer(self, router: zmq.Socket) -> None:
        who, _, start = router.recv_multipart()
        [number] = struct.unpack(">Q", start)
        self.asked.append(number)
        # Engines before vLLM 0.26 tell no topic.
        for kept, payload in list(self.kept):
            if kept >= number:
                router.send_multipart([who, b"", struct.pack(">Q", kept), payload])
        router.send_multipart([who, b"", b"\xff" * 8, b""])

    def say(self, events: list, keep: bool = True, send: bool = True) -> None:
        number = self.kept[-1][0] + 1 if self.kept else 0
        payload = msgpack.packb([1.5, events, 0])
        if keep:
            self.kept.append((number, payload))
        if send:
            self.live.send_multipart([self.topic, struct.pack(">Q", number), payload])

    def close(self) -> None:
        self.stopping.set()
        self.thread.join()
        self.live.close(0)
        self.context.term()


def stored(tokens: list[int]) -> list:
    hashes = [struct.pack(">QQ", 7, hash(tuple(tokens[: at + BLOCK])) & (2**63 - 1) | 1) for at in range(0, len(tokens), BLOCK)]
    return ["BlockStored", hashes, None, tokens, BLOCK, None, "GPU", None, None, None, None, None]


@pytest.fixture
def publishers() -> Iterator[tuple[list[Publisher], int, int, list[int]]]:
    ports, live, replay = [consecutive_ports(2)], consecutive_ports(2), consecutive_ports(2)
    ports = [ports[0], ports[0] + 1]
    both = [Publisher(live + rank, replay + rank, f"127.0.0.1:{port}") for rank, port in enumerate(ports)]
    yield both, live, replay, ports
    for one in both:
        one.close()


def test_a_foreign_publisher_with_gaps(started, write, publishers) -> None:
    both, live, replay, ports = publishers
    started.append(process.Process("sim", "--host", "127.0.0.1", "--port", str(ports[0]), "--count", "2", "--model", MODEL))
    for port in ports:
        process.eventually(f"{port} is healthy", lambda port=port: healthy(port))
    # Said before anybody listens.
    a, b, c = (list(range(start, start + 4 * BLOCK)) for start in (1, 1_001, 2_001))
    both[1].say([stored(a)], send=False)
    router = process.serve(write("router.yaml", document(ports, live, replay, mode="precise")))
    started.append(router)
    process.eventually("both endpoints are ready", lambda: router.ready_endpoints() == 2)
    second = f"127.0.0.1:{ports[1]}"
    process.eventually("it was repeated", lambda: [complete(router.url, a)[0] for _ in range(8)] == [second] * 8)
    # One batch is lost; the next shows it. An event of an unknown kind costs nobody anything.
    both[1].say([stored(b)], send=False)
    both[1].say([["SomethingNew", 1], stored(c)])
    for prompt in (b, c):
        process.eventually("the gap is closed", lambda p=prompt: [complete(router.url, p)[0] for _ in range(8)] == [second] * 8)
    assert 1 in both[1].asked


def test_tail_shows_what_a_publisher_says(publishers) -> None:
    both, live, _, ports = publishers
    tail = process.Process("kv", "tail", f"127.0.0.1:{live}", "--count", "1", "--json")

    def said() -> bool:
        # Who subscribes may not be there yet.
        both[0].say([stored(list(range(BLOCK))), ["AllBlocksCleared"]])
        return tail.popen.poll() is not None

    process.eventually("a batch arrived", said)
    assert tail.wait() == 0, tail.text()
    line = json.loads(tail.text("out"))
    assert (line["pod"], line["model"]) == (f"127.0.0.1:{ports[0]}", MODEL)
    assert [event["type"] for event in line["events"]] == ["stored", "cleared"]
    assert line["events"][0]["tokens"] == list(range(BLOCK))


def test_examples_of_the_documents_name_real_files() -> None:
    traces = pathlib.Path(__file__).parents[2] / "testdata/traces"
    table = process.Process("kv", "replay-trace", traces / "synthetic_trace.jsonl.gz", "--policy", "round-robin", "--json")
    assert table.wait(60) == 0, table.text()
    [row] = json.loads(table.text("out"))["policies"]
    assert row["policy"] == "round-robin" and abs(row["hit_rate"] - 0.1449) < 0.001
