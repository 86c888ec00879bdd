"""What most tests of the sandbox start from: a small account, served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline_tests.sandbox.client import SandboxClient


@pytest.fixture(scope="module")
def company() -> Iterator[SandboxClient]:
    """A client of a company that no test edits."""
    with serve(seeded(60, 150), has_limits=False) as running, SandboxClient(running) as client:
        yield client


@pytest.fixture
def account() -> CrmAccount:
    return seeded(60, 150)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SandboxClient]:
    with SandboxClient(sandbox) as client:
        yield client
