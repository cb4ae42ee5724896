"""Simulated workers, which all tests share, and a place for what a test starts."""

import pathlib
from collections.abc import Iterator

import process
import proxy
import pytest


@pytest.fixture(scope="session")
def fleet() -> Iterator[list[process.Worker]]:
    """Two workers with room for prompts of megabytes, that answer at once."""
    with process.workers(2, "--max-model-len", "4000000", "--max-request-body-size-mb", "64", "--max-num-seqs", "64") as workers:
        yield workers


@pytest.fixture
def site(tmp_path: pathlib.Path, fleet: list[process.Worker]) -> Iterator[proxy.Site]:
    site = proxy.Site(tmp_path, fleet)
    yield site
    site.stop()
