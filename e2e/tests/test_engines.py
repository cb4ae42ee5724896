"""Model servers that are not vLLM: no metrics, keys of their own, and what reaches them."""

import pathlib
import socket

import httpx
import process
import pytest
from engine import Engine

CHAT = "/v1/chat/completions"


def up(started: list[process.Process], *engines: Engine, arguments: tuple[str, ...] = ()) -> process.Router:
    router = process.up(*(a for engine in engines for a in ("--endpoint", engine.url)), *arguments)
    started.append(router)
    process.eventually("all are ready", lambda: router.ready_endpoints() == len(engines))
    return router


def chat(router: process.Router, **headers: str) -> httpx.Response:
    body = {"model": "bare/model", "messages": [{"role": "user", "content": "Hello"}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(router.url + "/chat/completions", json=body, headers=named, timeout=10)


def test_an_engine_without_metrics_serves(started: list[process.Process]) -> None:
    with Engine() as first, Engine() as second:
        router = up(started, first, second)
        assert [model["id"] for model in httpx.get(router.url + "/models").json()["data"]] == ["bare/model"]
        for number in range(40):
            body = {"model": "bare/model", "prompt": f"{number} " * 300}
            assert httpx.post(router.url + "/completions", json=body).status_code == 200
        shares = [len(engine.posts("/v1/completions")) for engine in (first, second)]
        assert sum(shares) == 40 and min(shares) >= 5, shares


def test_what_reaches_the_engine(started: list[process.Process]) -> None:
    with Engine() as engine:
        router = up(started, engine)
        answer = chat(
            router, x_gateway_destination_endpoint="127.0.0.1:9", x_prefiller_host_port="127.0.0.1:9", te="trailers",
            x_data_parallel_host_port="127.0.0.1:9", proxy_authorization="Basic x", x_custom="kept", x_request_id="mine",
        )
        assert answer.status_code == 200
        [seen] = engine.posts(CHAT)
        for name in ("x-gateway-destination-endpoint", "x-prefiller-host-port", "x-data-parallel-host-port", "proxy-authorization"):
            assert name not in seen.headers, name
        assert seen.headers["x-custom"] == "kept"
        assert seen.headers["x-request-id"] == "mine"
        assert answer.json()["length"] == len(seen.body)


def test_keys_towards_engines(started: list[process.Process], write) -> None:
    key = write("key.txt", "engine-key\n")
    with Engine(key="engine-key") as engine:
        router = up(started, engine, arguments=("--api-key-file", str(key)))
        assert chat(router, authorization="Bearer the-clients-own").status_code == 200
        assert engine.posts(CHAT)[0].headers["authorization"] == "Bearer engine-key"
        assert any(one.path == "/v1/models" and one.headers.get("authorization") == "Bearer engine-key" for one in engine.seen)


def test_bodies_that_are_not_parsed_arrive_unchanged(started: list[process.Process]) -> None:
    with Engine() as engine:
        router = up(started, engine)
        sound = bytes(range(256)) * 1000
        answer = httpx.post(router.url + "/audio/transcriptions", files={"file": ("a.wav", sound)}, data={"model": "bare/model"})
        assert answer.status_code == 200
        [seen] = engine.posts("/v1/audio/transcriptions")
        assert sound in seen.body
        assert seen.headers["content-type"].startswith("multipart/form-data")


def test_errors_of_engines(started: list[process.Process]) -> None:
    with Engine(fail=422) as first, Engine(fail=422) as second:
        router = up(started, first, second)
        answer = chat(router)
        assert answer.status_code == 422 and "x-weir-reason" not in answer.headers
        assert len(first.posts(CHAT)) + len(second.posts(CHAT)) == 1, "4xx must not be retried"
    with Engine(fail=503) as broken, Engine() as sound:
        router = up(started, broken, sound)
        assert [chat(router).status_code for _ in range(10)] == [200] * 10
        assert len(sound.posts(CHAT)) == 10
        assert 1 <= len(broken.posts(CHAT)) <= 10


def test_host_names(started: list[process.Process]) -> None:
    with Engine() as engine:
        router = process.up("--endpoint", f"http://localhost:{engine.port}")
        started.append(router)
        process.eventually("it is ready", lambda: router.ready_endpoints() == 1)
        assert chat(router).status_code == 200
        assert engine.posts(CHAT)[0].headers["host"] == f"localhost:{engine.port}"


def test_ipv6(started: list[process.Process]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Engine(host="::1") as engine:
        router = up(started, engine)
        assert chat(router).status_code == 200
        assert engine.posts(CHAT)[0].headers["host"] == f"[::1]:{engine.port}"


def test_engines_behind_tls(started: list[process.Process], write, tmp_path: pathlib.Path) -> None:
    process.certificate(tmp_path, "engine")
    with Engine(tls=(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))) as engine:
        text = ("apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
                f"pools:\n- name: chat\n  models: [bare/model]\n  endpoints:\n    static: [{{url: '{engine.url}'}}]\n")
        router = process.serve(write("trusting.yaml", text + "  tls: {caFile: tls.crt}\n"))
        started.append(router)
        process.eventually("it is ready", lambda: router.ready_endpoints() == 1)
        assert chat(router).status_code == 200
        doubting = process.serve(write("doubting.yaml", text))
        started.append(doubting)
        answer = chat(doubting)
        assert answer.status_code in (502, 503) and answer.headers["x-weir-reason"] in ("upstream_tls_failed", "no_endpoints")
    assert len(engine.posts(CHAT)) == 1
