"""Configurations of llm-d's guides: they load as they are, and route."""

import pathlib
import re

import httpx
import process
import pytest

CONFIGS = process.ROOT / "testdata/config"
GUIDES = sorted(path.name for path in CONFIGS.glob("guide-*.yaml"))
ROLES = ["prefill", "decode", "encode-prefill-decode", "decode"]


@pytest.fixture(scope="module")
def fleet():
    with process.workers(4) as started:
        yield started


def config(workers: list[process.Worker], guide: str) -> str:
    endpoints = "".join(
        f"        - {{name: w{i}, url: '{one.url}', labels: {{llm-d.ai/role: {role}}}}}\n"
        for i, (one, role) in enumerate(zip(workers, ROLES, strict=True))
    )
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: 127.0.0.1:0, admin: 127.0.0.1:0}\npools:\n"
        f"  - name: guide\n    endpoints:\n      static:\n{endpoints}    scheduling: {{path: {guide}}}\n"
    )


def test_all_guides_are_here() -> None:
    assert len(GUIDES) >= 10, GUIDES


@pytest.mark.parametrize("guide", GUIDES)
def test_it_loads_and_routes(write, started, fleet, guide: str) -> None:
    text = (CONFIGS / guide).read_text(encoding="utf-8")
    write(guide, text)
    checked = process.run("check", "--config", CONFIGS / guide)
    assert checked.returncode == 0, checked.stderr
    router = process.serve(write("router.yaml", config(fleet, guide)))
    started.append(router)
    process.eventually("all workers are ready", lambda: router.ready_endpoints() == 4)
    served = set()
    for i in range(12):
        body = {"model": process.MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": f"{i} " + "tell me more " * 50}]}
        answer = httpx.post(router.url + "/chat/completions", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        served.add(answer.headers["x-weir-endpoint"])
    if "decode-filter" in text:
        # Worker 0 only prefills: whatever the handler, no request may be answered there.
        assert served and router.name_of(fleet[0].url) not in served, served
    else:
        assert len(served) > 1, served
    inactive = re.findall(r"name: ([\w-]+), .*not yet active", checked.stdout)
    [logged] = [line for line in router.text("err").splitlines() if "accepted and not yet active: " in line]
    assert inactive and all(f"{name}/" in logged for name in inactive), (inactive, logged)


def test_without_kubernetes_the_picker_needs_nothing_but_the_guide(write, started, fleet) -> None:
    """The guide's flags, and its document as it is but for the path of the file."""
    listed = write("endpoints.yaml", "endpoints:\n" + "".join(
        f"- {{name: w{i}, address: 127.0.0.1, port: '{one.port}'}}\n" for i, one in enumerate(fleet)))
    text = (CONFIGS / "guide-no-kubernetes.yaml").read_text(encoding="utf-8")
    config = write("epp.yaml", text.replace("/etc/epp/endpoints.yaml", str(listed)))
    picker = process.Process("epp", "--config-file", config, "--pool-name=file-discovery", "--pool-namespace=default",
                             "--secure-serving=false", "--grpc-port=0", "--grpc-health-port=0", "--metrics-port=0")
    started.append(picker)
    picker.expect(r"^weir is ready: ", "out")
    admin = picker.expect(r"^admin: (\S+)$", "err")[1]
    ready = re.compile(r'^llm_d_epp_ready_endpoints\{name="file-discovery"\} 4(\.0)?$', re.M)
    process.eventually("all workers are ready", lambda: ready.search(httpx.get(admin + "/metrics", timeout=10).text))
