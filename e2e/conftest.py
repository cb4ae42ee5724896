"""Fixtures: the binary, a router over four simulated workers, the official client."""

import pathlib
from collections.abc import Iterator

import openai
import process
import pytest


@pytest.fixture(scope="session", autouse=True)
def _binary() -> None:
    if not process.BINARY.exists():
        pytest.exit(f"{process.BINARY} is missing: build it first, or set WEIR_BIN", returncode=2)


@pytest.fixture(scope="module")
def router() -> Iterator[process.Router]:
    """`weir up` with four simulated workers, as in README but on free ports."""
    started = process.up("--workers", "4")
    process.eventually("all four workers are ready", lambda: started.ready_endpoints() == 4)
    yield started
    started.stop()


@pytest.fixture
def client(router: process.Router) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as one:
        yield one


@pytest.fixture
def started() -> Iterator[list[process.Process]]:
    """Processes put in here are stopped at the end."""
    processes: list[process.Process] = []
    yield processes
    for one in reversed(processes):
        one.stop()


@pytest.fixture
def write(tmp_path: pathlib.Path):
    def write(name: str, text: str) -> pathlib.Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
