"""A line for each request, in the form of the rest of the log, and none lost at the end."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import process
from process import MODEL

REQUESTS = 200


def ask(router: process.Router, path: str = "/chat/completions", **more) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1, **more}
    return httpx.post(router.url + path, json=body, timeout=30)


def test_every_request_has_its_line_even_at_the_end() -> None:
    router = process.up("--workers", "2", "--log-level", "info")
    try:
        process.eventually("both workers are ready", lambda: router.ready_endpoints() == 2)
        with ThreadPoolExecutor(8) as several:
            answers = list(several.map(lambda _: ask(router), range(REQUESTS)))
        assert {answer.status_code for answer in answers} == {200}
        refused = ask(router, model="nobody")
        assert refused.status_code == 404
        router.signal(process.SIGTERM)
        assert router.wait() == 0
    finally:
        router.stop()
    lines = [line for line in router.text("err").splitlines() if " access: " in line]
    assert len(lines) == REQUESTS + 1
    form = re.compile(
        r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z  INFO access: id="(?P<id>[^"]+)" client="127\.0\.0\.1" method=POST '
        r'path="/v1/chat/completions" status=(?P<status>\d+) endpoint="(?P<endpoint>[^"]+)" bytes_in=\d+ bytes=\d+ ms=\d+\.\d{3} '
        r'reason="(?P<reason>[^"]+)"')
    found = [form.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match][:3]
    assert {match["id"] for match in found} == {answer.headers["x-request-id"] for answer in [*answers, refused]}
    [last] = [match for match in found if match["status"] != "200"]
    assert (last["status"], last["endpoint"], last["reason"]) == ("404", "-", "model_not_found")


CONFIG = """\
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {{http: "127.0.0.1:0", admin: "127.0.0.1:0"}}
log: {{level: {level}, format: json}}
pools: [{{name: chat, endpoints: {{static: [{{url: "{url}"}}]}}}}]
"""


def test_as_json_and_only_where_information_is_wanted(write, started: list[process.Process]) -> None:
    worker = process.Worker()
    started.append(worker)
    for level, wanted in (("info", 3), ("warn", 0)):
        router = process.serve(write("router.yaml", CONFIG.format(level=level, url=worker.url)))
        started.append(router)
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        answers = [ask(router) for _ in range(3)]
        router.signal(process.SIGTERM)
        assert router.wait() == 0
        entries = [json.loads(line) for line in router.text("err").splitlines() if line.startswith("{")]
        mine = [entry for entry in entries if entry["target"] == "access"]
        assert len(mine) == wanted, mine
        for entry, answer in zip(mine, answers, strict=False):
            assert entry["level"] == "INFO" and entry["method"] == "POST" and entry["path"] == "/v1/chat/completions"
            assert (entry["id"], entry["status"], entry["reason"]) == (answer.headers["x-request-id"], 200, "-")
            assert entry["endpoint"] == worker.url.removeprefix("http://") and isinstance(entry["ms"], float)
