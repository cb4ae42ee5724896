"""Objectives and model rewrites from files beside the configuration."""

from __future__ import annotations

import collections
import json
import pathlib

import httpx

import process

CONFIG = """
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}
objects: [{path: objects.yaml}]
pools:
- name: chat
  endpoints:
    static: [%s]
"""

OBJECTIVE = """
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: urgent}
spec: {poolRef: {name: chat}, priority: 10}
"""

REWRITE = """
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary}
spec:
  poolRef: {name: chat}
  rules:
  - matches: [{model: {value: assistant}}]
    targets: [%s]
"""


def write(folder: pathlib.Path, name: str, text: str) -> None:
    """Renamed into place, as a mounted ConfigMap changes."""
    new = folder / (name + ".new")
    new.write_text(text)
    new.rename(folder / name)


def target(model: str, weight: int) -> str:
    return f"{{modelRewrite: {model}, weight: {weight}}}"


def test_a_canary_is_split_and_answers_bear_the_name_that_was_asked_for(started, tmp_path: pathlib.Path) -> None:
    loras = ("--lora-modules", '{"name":"v1","path":"/v1"}', '{"name":"v2","path":"/v2"}')
    with process.workers(1, *loras) as [worker]:
        write(tmp_path, "objects.yaml", OBJECTIVE + REWRITE % ", ".join([target("v1", 80), target("v2", 20)]))
        write(tmp_path, "router.yaml", CONFIG % f"{{url: '{worker.url}'}}")
        router = process.serve(tmp_path / "router.yaml")
        started.append(router)
        process.eventually("it is ready", lambda: router.ready_endpoints() == 1)
        models = [one["id"] for one in httpx.get(router.url + "/models").json()["data"]]
        assert "assistant" in models and "v1" in models, models

        body = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        headers = {"x-llm-d-inference-objective": "urgent", "accept-encoding": "gzip"}
        for number in range(40):
            answer = httpx.post(router.url + "/chat/completions", json=body, headers={**headers, "x-request-id": f"c{number}"})
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == "assistant"
        page = router.get("/metrics").text
        decided = "llm_d_epp_model_rewrite_decisions_total"
        to = {model: process.metric(page, decided, model_rewrite_name="canary", model_name="assistant", target_model=model)
              for model in ("v1", "v2")}
        assert sum(to.values()) == 40 and 20 <= to["v1"] < 40, to
        before = decided.replace("llm_d_epp_", "inference_extension_")
        assert process.metric(page, before, model_rewrite_name="canary", model_name="assistant") == 40
        assert process.metric(page, "weir_requests_by_priority_total", pool="chat", priority="10") == 40

        # As a stream; the text of the events is all that differs.
        seen = collections.Counter()
        with httpx.stream("POST", router.url + "/chat/completions", json={**body, "stream": True}) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    seen[json.loads(line[6:])["model"]] += 1
        assert set(seen) == {"assistant"} and seen["assistant"] >= 3, seen

        [explained] = router.get("/debug/explain/c0").json()
        assert explained["priority"] == 10 and explained["objective"] == "urgent", explained
        assert explained["served_model"] in ("v1", "v2") and explained["rewrite_rule"] == "default/canary rule 1", explained
        shown = process.run("explain", "c0", "--admin", router.admin).stdout
        assert "priority 10 by the objective urgent" in shown and "chosen by rewrite default/canary rule 1" in shown, shown

        # Without a rule a client may choose for itself, and the answer bears the name in its body.
        answer = httpx.post(router.url + "/chat/completions", json={**body, "model": "v1"}, headers={"x-llm-d-model-name-rewrite": "v2"})
        assert answer.json()["model"] == "v1"

        # An edit is followed; one that is wrong changes nothing.
        write(tmp_path, "objects.yaml", REWRITE % target("v2", 1))
        process.eventually("the edit is in force", lambda: router.get("/debug/state").json()["reload"]["applied"] == 1)
        before = process.metric(router.get("/metrics").text, decided, target_model="v2")
        for _ in range(5):
            assert httpx.post(router.url + "/chat/completions", json=body).json()["model"] == "assistant"
        assert process.metric(router.get("/metrics").text, decided, target_model="v2") == before + 5
        write(tmp_path, "objects.yaml", REWRITE % "{modelRewrite: ''}")
        process.eventually("it is refused", lambda: router.get("/debug/state").json()["reload"]["refused"] == 1)
        assert "objects.yaml" in router.get("/debug/state").json()["reload"]["last"]["error"]
        assert httpx.post(router.url + "/chat/completions", json=body).status_code == 200


def test_a_dry_run_prints_the_rule_and_the_split(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "objects.yaml", OBJECTIVE + REWRITE % ", ".join([target("v1", 90), target("v2", 10)]))
    write(tmp_path, "router.yaml", CONFIG % "{url: 'http://127.0.0.1:1'}")
    for source in (("--config", tmp_path / "router.yaml"), ("--objects", tmp_path / "objects.yaml")):
        done = process.run("rewrite", "--dry-run", *source, "--model", "assistant", "--header", "x-llm-d-inference-objective: urgent")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "pool chat  model assistant  priority 10 by the objective urgent",
            "default/canary rule 1, for this model",
            " 90.00 %  v1",
            " 10.00 %  v2",
        ]
        done = process.run("rewrite", "--dry-run", *source, "--model", "other", "--json")
        assert json.loads(done.stdout) == {"priority": 0, "objective": None, "split": None, "wanted": None}
    assert process.run("rewrite", "--model", "x", "--objects", tmp_path / "objects.yaml").returncode == 64


def test_check_says_what_is_wrong_with_objects(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "objects.yaml", OBJECTIVE.replace("chat", "chta"))
    write(tmp_path, "router.yaml", CONFIG % "{url: 'http://127.0.0.1:1'}")
    done = process.run("check", "--config", tmp_path / "router.yaml")
    assert done.returncode == 1
    assert "the objective `urgent` is of the pool `chta`, which does not exist" in done.stderr and "did you mean `chat`" in done.stderr
