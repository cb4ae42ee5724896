"""API keys on both sides."""

import openai
import process
import pytest
from process import MODEL

HELLO = [{"role": "user", "content": "Open up."}]


def test_client_keys(started: list[process.Process], write) -> None:
    with process.workers(1) as [worker]:
        write("keys.txt", "first-key\nsecond-key\n")
        config = write("router.yaml", (
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {http: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
            f"auth: {{keysFile: keys.txt}}\npools:\n- name: chat\n  endpoints:\n    static: [{{url: '{worker.url}'}}]\n"))
        router = process.serve(config)
        started.append(router)
        process.eventually("it is ready", lambda: router.ready_endpoints() == 1)
        for key in ("first-key", "second-key"):
            with openai.OpenAI(base_url=router.url, api_key=key, max_retries=0) as client:
                assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2).choices
        with openai.OpenAI(base_url=router.url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(model=MODEL, messages=HELLO)
            assert caught.value.response.headers["x-weir-reason"] == "unauthorized"
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
