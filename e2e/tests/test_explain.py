"""`weir explain`: the numbers it shows are the numbers that were used."""

import asyncio
import json

import openai
import process
import pytest
from process import MODEL


def decisions(router: process.Router, identifier: str) -> list[dict]:
    done = process.run("explain", identifier, "--admin", router.admin, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def recomputed(kind: str, candidate: dict, candidates: list[dict], blocks: int) -> float | None:
    """llm-d's formulas over the state that the explanation shows; None for a scorer whose state is not shown."""
    if kind == "queue-scorer":
        queues = [one["waiting"] for one in candidates]
        low, high = min(queues), max(queues)
        return 1.0 if low == high else (high - candidate["waiting"]) / (high - low)
    if kind == "kv-cache-utilization-scorer":
        return 1.0 - candidate["kv_usage"]
    if kind == "prefix-cache-scorer":
        return candidate["matched_blocks"] / blocks if blocks else 0.0
    return None


def check(decision: dict) -> None:
    scorers = decision["scorers"]
    assert {one["type"] for one in scorers} == {"queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer"}
    candidates = decision["candidates"]
    assert len(candidates) == decision["scored"] == 4
    for candidate in candidates:
        total = 0.0
        for scorer, shown in zip(scorers, candidate["scores"], strict=True):
            expected = recomputed(scorer["type"], candidate, candidates, decision["prompt_blocks"])
            assert shown == pytest.approx(expected, abs=1e-6), (scorer, candidate)
            total += scorer["weight"] * expected
        assert candidate["total"] == pytest.approx(total, abs=1e-5)
    best = max(candidate["total"] for candidate in candidates)
    [chosen] = [candidate for candidate in candidates if candidate["chosen"]]
    assert chosen["total"] == pytest.approx(best)
    assert sum(candidate["runner_up"] for candidate in candidates) == 1


def test_sums_equal_the_formulas_under_load(router: process.Router) -> None:
    system = "You answer questions about the river and its weirs. " * 80

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        raw = await client.chat.completions.with_raw_response.create(
            model=MODEL, max_tokens=20, messages=[
                {"role": "system", "content": system * (1 + number % 3)}, {"role": "user", "content": f"Question {number}?"}],
        )
        return raw.headers["x-request-id"]

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=60) as client:
            first = [await one(client, number) for number in range(6)]
            return first + await asyncio.gather(*(one(client, number) for number in range(6, 60)))

    identifiers = asyncio.run(main())
    seen = [decisions(router, identifier) for identifier in identifiers]
    for found in seen:
        assert len(found) == 1
        check(found[0])
        assert found[0]["outcome"]["status"] == 200
    assert any(one["matched_blocks"] > 0 for found in seen for one in found[0]["candidates"]), "no prefix was ever matched"
    assert any(one["kv_usage"] > 0 for found in seen for one in found[0]["candidates"]), "no state was ever shown"


def test_the_table_names_what_was_chosen(router: process.Router, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Why there?"}], max_tokens=2)
    done = process.run("explain", raw.headers["x-request-id"], "--admin", router.admin)
    assert done.returncode == 0, done.stderr
    chosen = next(line for line in done.stdout.splitlines() if line.startswith("→"))
    assert raw.headers["x-weir-endpoint"] in chosen
    for name in ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer"):
        assert name in done.stdout


def test_unknown_requests_and_absent_routers_are_explained(router: process.Router) -> None:
    done = process.run("explain", "nobody-sent-this", "--admin", router.admin)
    assert done.returncode == 1 and "nobody-sent-this" in done.stderr
    done = process.run("explain", "x", "--admin", f"http://127.0.0.1:{process.free_port()}")
    assert done.returncode == 1 and "--admin" in done.stderr


STATE = """\
endpoints:
- {name: a, metrics: {waiting: 4, kvUsage: 0.9}}
- {name: b, metrics: {waiting: 1, kvUsage: 0.4}}
request: {body: {model: m, prompt: hello}}
"""
PICKER = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: by-label, parameters: {label: zone, validValues: [west], allowsNoLabel: false}}, {type: queue-scorer}]
"""


def test_a_state_is_decided_without_a_server(write) -> None:
    state = write("state.yaml", STATE)
    done = process.run("explain", "--state", state)
    assert done.returncode == 0, done.stderr
    assert "picked default/b  by profile default" in done.stdout and "kv-cache-utilization-scorer ×2" in done.stdout
    done = process.run("explain", "--state", state, "--json")
    verdict = json.loads(done.stdout)
    assert verdict["picked"] == "default/b"
    [profile] = verdict["profiles"]
    assert profile["candidates"][0] == {"endpoint": "default/b", "total": pytest.approx(2 + 2 * 0.6), "scores": [1.0, 0.6, 0.0]}


def test_a_state_is_decided_by_any_configuration(write) -> None:
    state = write("state.yaml", STATE)
    done = process.run("explain", "--state", state, "--config", write("picker.yaml", PICKER))
    assert done.returncode == 0, done.stderr
    assert "refused with 429, rejected_saturated" in done.stdout and "keeps 0 of 2, without default/a default/b" in done.stdout
    config = process.ROOT / "testdata/config/router-full.yaml"
    done = process.run("explain", "--state", state, "--config", config)
    assert done.returncode == 64 and "`chat`" in done.stderr and "--pool" in done.stderr, done.stderr
    done = process.run("explain", "--state", state, "--config", config, "--pool", "embeddings")
    assert done.returncode == 0 and "picked default/" in done.stdout, done.stderr


def test_a_state_that_does_not_come_out_as_expected_fails(write) -> None:
    state = write("state.yaml", STATE + "expect: {picked: a, scores: {queue-scorer: {b: 0.5}}}\n")
    done = process.run("explain", "--state", state)
    assert done.returncode == 1
    assert 'picked: expected "a", is Some("default/b")' in done.stderr and "scores.queue-scorer.b" in done.stderr
    done = process.run("explain", "--state", write("bad.yaml", STATE.replace("waiting: 4", "wating: 4")))
    assert done.returncode == 1 and "bad.yaml:2:23" in done.stderr and "did you mean `waiting`?" in done.stderr
