"""Starting and stopping."""

import contextlib
import json
import threading

import httpx
import openai
import process
import pytest
from process import MODEL


@pytest.mark.parametrize("number", [process.SIGTERM, process.SIGINT])
def test_streams_end_before_the_process_does(number: int) -> None:
    router = process.up("--workers", "1")
    try:
        pieces: list[str] = []
        first = threading.Event()

        def read() -> None:
            with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as client:
                stream = client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Take your time."}], max_tokens=120, stream=True,
                    stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
                )
                for chunk in stream:
                    pieces.append(str(chunk.usage.completion_tokens) if chunk.usage else "")
                    first.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert first.wait(10)
        router.signal(number)
        assert router.wait() == 0, router.text()
        reader.join(10)
        assert pieces[-1:] == ["120"], "the stream was cut off"
    finally:
        router.stop()


def test_draining_is_announced_and_new_requests_are_refused() -> None:
    router = process.up("--workers", "1")
    try:
        body = {"model": MODEL, "prompt": "Slow", "max_tokens": 300, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", router.url + "/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            router.signal(process.SIGTERM)
            process.eventually("the admin server says so", lambda: router.get("/readyz").json()["draining"], within=3)
            assert router.get("/readyz").status_code == 503
            assert router.get("/livez").status_code == 200
            with contextlib.suppress(httpx.TransportError):
                refused = httpx.get(router.url + "/models", timeout=5)
                assert refused.status_code == 503, refused.text
            assert list(lines)[-2:] == ["data: [DONE]", ""] or "data: [DONE]" in lines
        assert router.wait() == 0
    finally:
        router.stop()


def test_a_busy_port_is_explained(router: process.Router) -> None:
    port = router.url.rsplit(":", 1)[1].split("/")[0]
    done = process.run("up", "--port", port, "--admin-port", "0")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and "--port" in done.stderr, done.stderr
    assert "panicked" not in done.stderr
    admin = router.admin.rsplit(":", 1)[1]
    done = process.run("up", "--port", "0", "--admin-port", admin)
    assert done.returncode == 1
    assert f"127.0.0.1:{admin}" in done.stderr, done.stderr


def test_health(router: process.Router) -> None:
    assert router.get("/livez").status_code == 200
    ready = router.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True


def test_state_and_plan_are_shown(router: process.Router) -> None:
    assert len(router.endpoints()) == 4
    plan = json.dumps(router.get("/debug/plan").json())
    for plugin in ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "max-score-picker"):
        assert plugin in plan


def test_help_and_completions() -> None:
    done = process.run("--help")
    assert done.returncode == 0
    for command in ("up", "serve", "check", "sim", "explain", "schema", "completions"):
        assert command in done.stdout
        assert process.run(command, "--help").returncode == 0
    for shell in ("bash", "zsh", "fish"):
        done = process.run("completions", shell)
        assert done.returncode == 0 and "weir" in done.stdout


def test_schema_is_json_schema() -> None:
    done = process.run("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert {"listen", "pools"} <= set(schema["properties"])


def test_workers_on_free_ports() -> None:
    sim = process.Process("sim", "--host", "127.0.0.1", "--port", "0", "--count", "3", "--model", "some/model")
    try:
        process.eventually("three workers are named", lambda: sim.text("out").count("weir sim: some/model on http://127.0.0.1:") == 3)
        ports = {line.rsplit(":", 1)[1] for line in sim.text("out").splitlines()}
        assert len(ports) == 3 and "0" not in ports
        for port in ports:
            assert httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"][0]["id"] == "some/model"
        sim.signal(process.SIGTERM)
        assert sim.wait() == 0
    finally:
        sim.stop()
