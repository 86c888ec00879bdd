"""`up`: starts every server of the installation and ends them on Ctrl-C or `down`."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.cli.installation import Installation
from pipedrive_pipeline.cli.output import errors, print_facts, terminal
from pipedrive_pipeline.cli.processes import Server, Servers, require_free
from pipedrive_pipeline.cli.sandbox import SANDBOX, connect_sandbox, publish, sandbox_command
from pipedrive_pipeline.cli.session import CommandSession, enter_dagster, open_session
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.settings import PROJECT_ROOT, SANDBOX_HOST, Settings, load_settings
from pipedrive_pipeline.sync.tenancy.registry import has_real_connection
from pipedrive_pipeline.sync.webhooks.live_status import near_real_time
from pipedrive_pipeline.warehouse.embedded import running_server

HOST = "127.0.0.1"
LOCATION = "pipedrive_pipeline"


def up(
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Also start the sandbox, where a real tenant is connected."),
    ] = False,
) -> None:
    """Start Postgres, the Connect app, Dagster and, while no tenant is connected, a sandbox."""
    settings = load_settings()
    installation = Installation(settings.pipeline_home)
    with ExitStack() as stack:
        stack.enter_context(installation.only_one())
        require_free(settings.dagster_port, "DAGSTER_PORT")
        require_free(settings.connect_port, "CONNECT_PORT")
        session = stack.enter_context(_postgres(settings))
        is_sandboxed = sandbox or _is_sandbox_wanted(session)
        if is_sandboxed:
            require_free(settings.sandbox_port, "SANDBOX_PORT")
            publish(settings, f"http://{SANDBOX_HOST}:{settings.sandbox_port}")
        enter_dagster(session)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pp-up-")))
        stop = _stop_signal()
        servers = Servers(dict(os.environ), installation.record_children)
        stack.callback(servers.stop)
        stack.callback(errors.print, "stopping …")
        for server in _servers(session.settings, folder, is_sandboxed=is_sandboxed):
            servers.start(server)
        servers.wait_until_ready(lambda server: errors.print(f"{server.name} is ready"))
        if is_sandboxed:
            connect_sandbox(session)
        _announce(session, installation, is_sandboxed=is_sandboxed)
        is_said = not is_sandboxed
        while not stop.wait(1.0):
            servers.revive(_say_restarted)
            is_said = is_said or _say_live(session)


def down() -> None:
    """Stop the `up` of this installation, whichever terminal it runs in."""
    home = load_settings().pipeline_home
    pid = Installation(home).stop()
    terminal.print(f"stopped (pid {pid})." if pid else f"nothing is running in {home}.")


def _is_sandbox_wanted(session: CommandSession) -> bool:
    """True while this installation has neither an OAuth app nor a tenant that was connected."""
    has_app = any(session.settings.system(key).client_id for key in system_keys())
    return not has_app and not has_real_connection(session.warehouse)


def _say_restarted(server: Server, code: int) -> None:
    errors.print(
        f"{server.name} ended by itself (code {code}) and is started again; its log is "
        f"{server.log}.",
        soft_wrap=True,
    )


def _say_live(session: CommandSession) -> bool:
    """True once the sandbox tells of its changes, which is said then."""
    with suppress(DatabaseUnavailable), session.warehouse.transaction() as connection:
        if any(state.state == "live" for state in near_real_time(connection, SANDBOX)):
            errors.print("near real time is live: an edit in the sandbox is in crm seconds later")
            return True
    return False


@contextmanager
def _postgres(settings: Settings) -> Iterator[CommandSession]:
    """A session; at the end stops the embedded Postgres if this started it and nobody uses it."""
    was_running = settings.is_embedded and running_server(settings.pipeline_home) is not None
    session = open_session()
    try:
        yield session
    finally:
        if settings.is_embedded and not was_running:
            _end_postgres(session)


def _end_postgres(session: CommandSession) -> None:
    with session.warehouse.transaction() as connection:
        others = connection.execute(
            "select count(*) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        ).fetchone()
    if others and others[0]:
        errors.print("Postgres goes on: another command is using it.")
        return
    server = running_server(session.settings.pipeline_home)
    if server:
        server.stop()


def _servers(settings: Settings, folder: Path, *, is_sandboxed: bool) -> list[Server]:
    logs = settings.pipeline_home / "logs"
    own = [sys.executable, "-m", "pipedrive_pipeline"]
    # A socket that only this account can open: who reaches a code server runs code.
    socket_file = folder / "code-server"
    workspace = ["-w", str(_workspace(folder, socket_file))]
    servers = [
        Server(
            "Dagster code server",
            [
                *(sys.executable, "-m", "dagster", "api", "grpc"),
                *("--socket", str(socket_file), "-m", "pipedrive_pipeline.definitions"),
                *("-d", str(PROJECT_ROOT), "--location-name", LOCATION),
                "--use-python-environment-entry-point",
            ],
            "",
            None,
            logs / "dagster-code-server.log",
        ),
        Server(
            "Dagster UI",
            [
                *own,
                "serve-dagster",
                *("-h", HOST, "-p", str(settings.dagster_port)),
                *workspace,
            ],
            f"http://{HOST}:{settings.dagster_port}",
            "/server_info",
            logs / "dagster-webserver.log",
        ),
        Server(
            "Dagster daemon",
            [*_program("dagster-daemon"), "run", *workspace],
            "",
            None,
            logs / "dagster-daemon.log",
            # At its start it tries runs again that the last stop interrupted, once; without a code
            # server it gives them up.
            needs=socket_file,
        ),
        Server(
            "Connect app",
            [*own, "serve-connect"],
            f"http://{HOST}:{settings.connect_port}",
            "/healthz",
            logs / "connect.log",
        ),
        Server("Signals", [*own, "serve-signals"], "", None, logs / "signals.log"),
    ]
    if is_sandboxed:
        sandbox = Server(
            "Sandbox Pipedrive",
            [*own, *sandbox_command(settings)],
            f"http://{SANDBOX_HOST}:{settings.sandbox_port}",
            "/",
            logs / "sandbox.log",
        )
        servers.insert(0, sandbox)
    return servers


def _workspace(folder: Path, socket_file: Path) -> Path:
    """A workspace file that points the UI and the daemon to the one code server.

    Without it each of them starts a code server of its own, and the daemon starts its one again
    every minute.
    """
    file = folder / "workspace.yaml"
    server = {"socket": str(socket_file), "host": "localhost", "location_name": LOCATION}
    file.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))  # JSON is YAML
    return file


def _announce(session: CommandSession, installation: Installation, *, is_sandboxed: bool) -> None:
    settings = session.settings
    urls = {
        "Dagster UI": f"http://{HOST}:{settings.dagster_port}",
        "Connect app": f"http://{HOST}:{settings.connect_port}",
    }
    if is_sandboxed:
        urls["Sandbox Pipedrive"] = f"http://{SANDBOX_HOST}:{settings.sandbox_port}"
    names = {name.split()[0].lower(): url for name, url in urls.items()}
    facts = {**names, "pid": os.getpid()}
    installation.up_file.write_text(json.dumps(facts, indent=2) + "\n")
    print_facts({**urls, "psql": "./run psql", "stop": "Ctrl-C, or ./run down"})
    operator = settings.operator()
    if operator and settings.is_embedded and terminal.is_terminal:
        print_facts({"operator key": operator.get_secret_value()})


def _stop_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _program(name: str) -> list[str]:
    """The words that start a program of this environment.

    The interpreter is named: the program's own first line names it by a path that a moved clone has
    no longer.
    """
    return [sys.executable, str(Path(sys.executable).with_name(name))]
