"""The command starts quickly, prints how to log in, and ends on a signal."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import typer
from typer.testing import CliRunner

from pipedrive_pipeline.cli.app import command_line
from pipedrive_pipeline.sandbox.pipedrive.command import run_sandbox

START = (
    "import typer; from pipedrive_pipeline.sandbox.pipedrive.command import run_sandbox; "
    "typer.run(run_sandbox)"
)


@contextmanager
def _running(*flags: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", START, "--port", "0", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield process, [process.stdout.readline() for _ in range(4)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
def test_a_large_account_starts_in_seconds_with_a_curl_line_that_works() -> None:
    """100,000 organizations take less than ten processor seconds; SIGTERM ends it cleanly."""
    flags = ("--organizations", "100000", "--persons", "1000000", "--api-token", "abc")
    with _running(*flags) as (process, lines):
        words = shlex.split(lines[-1].removeprefix("Try"))
        name, _, value = words[2].partition(": ")
        first = httpx.get(words[3], headers={name: value})
        used = psutil.Process(process.pid).cpu_times()
        last = httpx.get(f"{lines[0].split()[-1]}/api/v2/persons/1000000", headers={name: value})
        process.send_signal(signal.SIGTERM)
        code = process.wait(5)

    assert words[0] == "curl"
    assert first.json()["data"][0]["id"] == 1
    assert last.json()["data"]["id"] == 1_000_000
    assert used.user + used.system < 10
    assert code == 0


def test_every_flag_of_the_design_is_there_and_explains_itself() -> None:
    app = typer.Typer()
    app.command()(run_sandbox)

    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output

    for flag in (
        "--port", "--organizations", "--persons", "--seed", "--api-token", "--client-id",
        "--client-secret", "--consent", "--plan", "--seats", "--rotation", "--latency-ms",
        "--control",
    ):  # fmt: skip
        assert re.search(rf"{flag}\b", text), flag


@pytest.mark.slow
def test_flags_reach_the_sandbox() -> None:
    flags = (
        "--plan", "lite", "--seats", "2", "--control", "--consent", "page", "--rotation", "on",
        "--latency-ms", "100", "--client-id", "app", "--seed", "8", "--unset", "absent",
    )  # fmt: skip
    with _running(*flags) as (process, lines):
        url = lines[0].split()[-1]
        page = httpx.get(url).text
        consent = httpx.get(
            f"{url}/oauth/authorize",
            params={"client_id": "app", "redirect_uri": "http://127.0.0.1:9/"},
        )
        control = httpx.get(f"{url}/_sandbox/requests")
        truth = httpx.get(f"{url}/_sandbox/records/persons").text
        process.send_signal(signal.SIGINT)
        code = process.wait(5)

    assert "lite, 2 seats" in page
    assert "of 60,000 tokens left" in page
    assert "Allow app?" in consent.text
    assert consent.elapsed.total_seconds() >= 0.1
    assert control.status_code == 200
    assert '"org_id"' in truth
    assert '"org_id":null' not in truth
    assert code == 0


def test_a_taken_port_is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(typer.Exit) as ended:
            run_sandbox(port=port)

    assert ended.value.exit_code == 1
    assert f"port {port} is taken" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["/proc/x/state.json", "/tmp"])  # noqa: S108 - never written
def test_a_file_that_cannot_hold_the_state_is_named(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was called a taken port, or the sandbox ran and saved nothing."""
    with pytest.raises(typer.Exit) as ended:
        run_sandbox(port=0, organizations=1, persons=1, state=Path(state))

    assert ended.value.exit_code == 1
    assert f"{state} cannot hold the state" in capsys.readouterr().err


def test_a_port_that_does_not_exist_is_refused() -> None:
    result = CliRunner().invoke(command_line(), ["sandbox", "--port", "99999"])

    assert result.exit_code == 2
    assert "'--port'" in result.stderr


def test_the_command_takes_the_only_system_or_the_one_that_is_named() -> None:
    """`sandbox` passes its words on to the command of the look-alike."""
    app = command_line("sandbox")

    named = CliRunner().invoke(app, ["sandbox", "--system", "pipedrive", "--help"])
    unnamed = CliRunner().invoke(app, ["sandbox", "--help"])
    unknown = CliRunner().invoke(app, ["sandbox", "--system", "orbit"])
    misspelt = CliRunner().invoke(app, ["sandbox", "--organisations", "3"])

    assert "--organizations" in named.output
    assert unnamed.output == named.output
    assert (unknown.exit_code, misspelt.exit_code) == (2, 2)
    assert "choose one of: pipedrive" in unknown.output
    assert "--organisations" in misspelt.output
