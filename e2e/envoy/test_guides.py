"""llm-d's guides behind Envoy: the picker takes their configurations as they are, and every request arrives."""

import pathlib
from collections.abc import Iterator

import httpx
import process
import proxy
import pytest
from process import MODEL

CONFIGS = process.ROOT / "testdata/config"
GUIDES = sorted(path.name for path in CONFIGS.glob("guide-*.yaml"))
ROLES = ["prefill", "decode", "encode-prefill-decode", "decode"]


@pytest.fixture(scope="module")
def workers() -> Iterator[list[process.Worker]]:
    with process.workers(4) as started:
        yield started


@pytest.mark.parametrize("guide", GUIDES)
def test_it_loads_and_routes(site: proxy.Site, workers: list[process.Worker], tmp_path: pathlib.Path, guide: str) -> None:
    text = (CONFIGS / guide).read_text(encoding="utf-8")
    listed = tmp_path / "endpoints.yaml"
    listed.write_text("endpoints:\n" + "".join(
        f"- {{name: w{i}, address: 127.0.0.1, port: '{one.port}', labels: {{llm-d.ai/role: {role}}}}}\n"
        for i, (one, role) in enumerate(zip(workers, ROLES, strict=True))), encoding="utf-8")
    # The guide without Kubernetes brings its own list.
    config = text.replace("/etc/epp/endpoints.yaml", str(listed))
    arguments = ["--allow-experimental-plugins"]
    # Of a flag that is given twice the last one counts.
    arguments += [] if config != text else ["--endpoints-file", str(listed)]
    picker = site.picker(*arguments, workers=workers, config=config, own_list=config != text)
    envoy = site.envoy(picker)
    before = [worker.metric("vllm:request_success_total") for worker in workers]
    for i in range(12):
        body = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": f"{i} " + "tell me more " * 50}]}
        answer = httpx.post(envoy.url + "/v1/chat/completions", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
    served = [int(worker.metric("vllm:request_success_total") - count) for worker, count in zip(workers, before, strict=True)]
    assert sum(served) == 12, served
    if "decode-filter" in text:
        # Worker 0 only prefills, and nobody asks it without a sidecar.
        assert served[0] == 0, served
    else:
        assert sum(count > 0 for count in served) > 1, served
    assert envoy.ext_proc("streams_failed") == 0 and envoy.ext_proc("streams_started") == 12
    process.eventually("every request has its line", lambda: picker.text("err").count(" access: ") == 12)
