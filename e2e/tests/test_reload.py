"""The configuration changes while streams are open."""

import asyncio
import json
import pathlib
import ssl
import subprocess

import httpx
import process
from process import MODEL

STREAMS = 1000
TOKENS = 120
OTHER = "other-model"


def served_name(port: int) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    done = subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"], input=pem, capture_output=True, text=True)
    return done.stdout


def document(pools: dict[str, list[process.Worker]], queue_weight: int, http: int, https: int | None = None) -> str:
    config = {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "RouterConfig",
        "listen": {"http": f"127.0.0.1:{http}", "admin": "127.0.0.1:0"},
        "gateway": {"accessLog": False},
        "pools": [
            {
                "name": name,
                "endpoints": {"static": [{"name": f"{name}-{worker.port}", "url": worker.url} for worker in workers]},
                "scheduling": {
                    "plugins": [{"type": "queue-scorer"}, {"type": "prefix-cache-scorer"}],
                    "schedulingProfiles": [{"name": "default", "plugins": [
                        {"pluginRef": "queue-scorer", "weight": queue_weight}, {"pluginRef": "prefix-cache-scorer", "weight": 1}]}],
                },
            }
            for name, workers in pools.items()
        ],
    }
    if https is not None:
        config["listen"]["https"] = {"address": f"127.0.0.1:{https}", "certFile": "tls.crt", "keyFile": "tls.key"}
    return json.dumps(config, indent=1)  # YAML is a superset of JSON


async def stream(port: int, number: int, begun: list[int], context: ssl.SSLContext | None) -> int:
    """Tokens that came before `[DONE]`; an exception if the stream was cut off."""
    body = json.dumps({
        "model": MODEL, "prompt": f"Stream {number}", "max_tokens": TOKENS, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True},
    })
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write((
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    tokens, done, first = 0, False, True
    while line := await reader.readline():
        if line.startswith(b"data: "):
            if first:
                begun.append(number)
                first = False
            if line.startswith(b"data: [DONE]"):
                done = True
            elif b'"completion_tokens":' in line:
                usage = json.loads(line[6:]).get("usage")
                tokens = usage["completion_tokens"] if usage else tokens
            assert b'"error"' not in line, line
    writer.close()
    assert done, f"stream {number} was cut off"
    return tokens


def test_a_reload_drops_no_stream(started: list[process.Process], tmp_path: pathlib.Path) -> None:
    process.certificate(tmp_path, "first")
    slow = ("--time-to-first-token", "50ms", "--inter-token-latency", "60ms", "--max-num-seqs", "400", "--max-model-len", "4096")
    with process.workers(4, *slow) as fleet, process.workers(1, model=OTHER) as other:
        http, https = process.free_port(), process.free_port()
        config = tmp_path / "router.yaml"
        config.write_text(document({"chat": fleet}, 2, http, https))
        router = process.serve(config)
        started.append(router)
        process.eventually("all are ready", lambda: router.ready_endpoints() == 4)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        async def main() -> list[int]:
            begun: list[int] = []
            tasks = [
                asyncio.create_task(stream(https if n % 2 else http, n, begun, context if n % 2 else None)) for n in range(STREAMS)
            ]
            while len(begun) < STREAMS:
                await asyncio.sleep(0.02)
                for task in tasks:
                    if task.done():
                        task.result()  # raises what went wrong
                        raise AssertionError("a stream ended before all had begun: make them longer")
            # Certificates, weights, a pool more, and one endpoint of the old pool less.
            await asyncio.to_thread(process.certificate, tmp_path, "second")
            config.write_text(document({"chat": fleet[:3], "other": other}, 5, http, https))
            router.signal(process.SIGHUP)
            await asyncio.to_thread(process.eventually, "the new pool is there", lambda: OTHER in httpx.get(
                f"http://127.0.0.1:{http}/v1/models", timeout=5).text)
            await asyncio.to_thread(process.eventually, "the new certificate is served", lambda: "second" in served_name(https))
            assert not any(task.done() for task in tasks), "streams must still run after the reload, or this shows nothing"
            return await asyncio.gather(*tasks)

        assert asyncio.run(main()) == [TOKENS] * STREAMS
        assert len(router.get("/debug/state").json()["pools"]) == 2
        plans = router.get("/debug/plan").json()
        assert all(["queue-scorer", 5] in profile["scorers"] for pool in plans for profile in pool["plan"]["profiles"]), plans


def test_an_invalid_change_changes_nothing(started: list[process.Process], tmp_path: pathlib.Path) -> None:
    with process.workers(1) as fleet:
        http = process.free_port()
        config = tmp_path / "router.yaml"
        good = document({"chat": fleet}, 2, http)
        config.write_text(good)
        router = process.serve(config)
        started.append(router)
        process.eventually("it is ready", lambda: router.ready_endpoints() == 1)
        config.write_text(good.replace('"pools"', '"poools"'))
        router.signal(process.SIGHUP)
        state = lambda: router.get("/debug/state").json()["reload"]  # noqa: E731
        process.eventually("it is refused", lambda: state()["refused"] >= 1)
        assert "poools" in state()["last"]["error"]
        router.expect("poools", "err")
        assert httpx.get(f"http://127.0.0.1:{http}/v1/models", timeout=5).status_code == 200
        assert len(router.endpoints()) == 1


def test_a_changed_file_is_noticed_without_a_signal(started: list[process.Process], tmp_path: pathlib.Path) -> None:
    with process.workers(1) as fleet, process.workers(1, model=OTHER) as other:
        http = process.free_port()
        config = tmp_path / "router.yaml"
        config.write_text(document({"chat": fleet}, 2, http))
        router = process.serve(config)
        started.append(router)
        replacement = tmp_path / "router.yaml.new"
        replacement.write_text(document({"chat": fleet, "other": other}, 2, http))
        replacement.rename(config)
        process.eventually("the new pool is there", lambda: OTHER in httpx.get(f"http://127.0.0.1:{http}/v1/models", timeout=5).text)


def test_an_endpoints_file_is_followed(started: list[process.Process], tmp_path: pathlib.Path) -> None:
    with process.workers(2) as [first, second]:
        entry = "- {name: %s, address: 127.0.0.1, port: '%d'}\n"
        listed = tmp_path / "endpoints.yaml"
        listed.write_text("endpoints:\n" + entry % ("a", first.port))
        config = tmp_path / "router.yaml"
        config.write_text(
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
            "pools:\n- name: chat\n  endpoints:\n    file: {path: endpoints.yaml}\n")
        router = process.serve(config)
        started.append(router)
        names = lambda: sorted(endpoint["id"] for endpoint in router.endpoints())  # noqa: E731
        assert names() == ["default/a"]
        replacement = tmp_path / "new"
        replacement.write_text("endpoints:\n" + entry % ("a", first.port) + entry % ("b", second.port))
        replacement.rename(listed)
        process.eventually("the second endpoint is there", lambda: names() == ["default/a", "default/b"])
        listed.write_text("endpoints: [")
        router.expect("endpoints.yaml", "err")
        assert names() == ["default/a", "default/b"]
        listed.write_text("endpoints:\n" + entry % ("b", second.port))
        process.eventually("the first endpoint is gone", lambda: names() == ["default/b"])
