"""Metrics pages are well-formed, and say what happened."""

import pathlib
import shutil
import subprocess
import os

import httpx
import openai
import process
import pytest
from process import MODEL


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """promtool of the machine, or unpacked from Debian's package without installing it."""
    if found := shutil.which("promtool"):
        return found
    cache = pathlib.Path(os.environ.get("WEIR_CACHE") or pathlib.Path.home() / ".cache/weir")
    kept = cache / "promtool"
    if not kept.exists():
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            pytest.skip("promtool is missing (Debian: apt-get install prometheus)")
        folder = tmp_path_factory.mktemp("promtool")
        got = subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=folder, capture_output=True, text=True, timeout=120)
        packages = list(folder.glob("prometheus_*.deb"))
        if got.returncode != 0 or not packages:
            pytest.skip("promtool is missing and Debian's package prometheus could not be fetched")
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(folder / "x")], check=True)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "x/usr/bin/promtool", kept)
    return str(kept)


def lint(promtool: str, page: str) -> str:
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=30)
    # 1: the page cannot be parsed. 3: advice about names, which vLLM and llm-d do not follow and we must match.
    return "" if done.returncode in (0, 3) else done.stdout + done.stderr


def advice(promtool: str, page: str) -> list[str]:
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=30)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("weir_")]


def ask(client: openai.OpenAI, times: int = 3) -> None:
    for number in range(times):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"Metric {number}?"}], max_tokens=4)


def test_the_routers_page(router: process.Router, client: openai.OpenAI, promtool: str) -> None:
    ask(client)
    page = router.get("/metrics").text
    assert lint(promtool, page) == ""
    assert advice(promtool, page) == []


def test_a_workers_page(router: process.Router, client: openai.OpenAI, promtool: str) -> None:
    ask(client)
    for endpoint in router.endpoints():
        page = httpx.get(endpoint["url"].rstrip("/") + "/metrics", timeout=10).text
        assert "vllm:num_requests_running" in page
        assert lint(promtool, page) == ""


def test_requests_are_counted(router: process.Router, client: openai.OpenAI) -> None:
    def complete() -> float:
        return process.metric(router.get("/metrics").text, "weir_requests_total", outcome="complete")

    ask(client, 1)
    before = complete()
    ask(client, 5)
    process.eventually("five more are counted", lambda: complete() == before + 5, within=2)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "?"}])
    assert process.metric(router.get("/metrics").text, "weir_requests_refused_total", reason="model_not_found") >= 1
