"""The sandbox must never be what a measurement measures."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SERVER = """
from pipedrive_pipeline.sandbox import Options, Service, seeded
from pipedrive_pipeline.sandbox.server import run
account = seeded(100_000, 0, organization_fields=40)
run(Service(account, Options(has_limits=False)), 0, announce=lambda url: print(url, flush=True))
"""
STRETCHES, PAGES = 4, 40  # pages a stretch


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("order", ["id", "update_time"])
def test_sixty_pages_of_500_rows_with_40_custom_fields_a_second(order: str) -> None:
    """Counted in the server's own processor time, so that a busy machine does not decide.

    Neighbours that empty the processor's caches cost it up to a third all the same (67 instead of
    100 pages under a load of ten), so the best of some stretches counts.
    """
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline().split(":")[2]))
        token = {"x-api-token": "5a4db0c0ffee5a4db0c0ffee5a4db0c0ffee5a4d"}
        path, cursor = f"/api/v2/organizations?limit=500&sort_by={order}", ""
        spent, started = [], time.monotonic()
        for _ in range(STRETCHES):
            before = _cpu_seconds(process.pid)
            for _ in range(PAGES):
                line.request("GET", path + cursor, headers=token)
                body = line.getresponse().read()
                tail = json.loads(b"{" + body[body.rindex(b'"additional_data"') :])
                cursor = f"&cursor={tail['additional_data']['next_cursor']}"
            spent.append(_cpu_seconds(process.pid) - before)
        elapsed = time.monotonic() - started
        line.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    best, wall = PAGES / min(spent), STRETCHES * PAGES / elapsed
    sys.stdout.write(f"{best:.0f} pages a processor second, {wall:.0f} a second\n")
    assert best >= 60
