"""`up`: everything at once, until told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipedrive_pipeline.cli.output import errors, print_facts, terminal
from pipedrive_pipeline.cli.processes import Server, Servers, require_free
from pipedrive_pipeline.cli.sandboxed import SANDBOX_COMMAND, connect_default, sandbox_environment
from pipedrive_pipeline.cli.session import Session, enter_dagster, open_session
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings, load_settings
from pipedrive_pipeline.warehouse.embedded import running_server

HOST = "127.0.0.1"


def up() -> None:
    """Start Postgres, the Connect app, Dagster and, without credentials, a sandbox Pipedrive."""
    settings = load_settings()
    is_sandboxed = settings.pipedrive_client_id is None
    _require_free_ports(settings, is_sandboxed=is_sandboxed)
    if is_sandboxed:
        os.environ.update(sandbox_environment(f"http://{HOST}:{settings.sandbox_port}"))
    (settings.pipeline_home / "up.json").unlink(missing_ok=True)  # of one that was killed
    with _postgres(settings) as session:
        enter_dagster(session)
        servers = Servers(dict(os.environ))
        stop = _stop_signal()
        try:
            for server in _servers(session.settings, is_sandboxed=is_sandboxed):
                servers.start(server)
            servers.wait_until_ready(lambda server: errors.print(f"{server.name} is ready"))
            if is_sandboxed:
                connect_default(session)
            _announce(session, is_sandboxed=is_sandboxed)
            while not stop.wait(1.0):
                servers.check()
        finally:
            errors.print("stopping …")
            servers.stop()
            (settings.pipeline_home / "up.json").unlink(missing_ok=True)


@contextmanager
def _postgres(settings: Settings) -> Iterator[Session]:
    """A session; an embedded Postgres that was started for it is ended with it, if unused."""
    was_running = settings.is_embedded and running_server(settings.pipeline_home) is not None
    session = open_session()
    try:
        yield session
    finally:
        if settings.is_embedded and not was_running:
            _end_postgres(session)


def _end_postgres(session: Session) -> None:
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


def _servers(settings: Settings, *, is_sandboxed: bool) -> list[Server]:
    logs = settings.pipeline_home / "logs"
    workspace = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    own = [sys.executable, "-m", "pipedrive_pipeline"]
    found = [
        Server(
            "Dagster UI",
            [
                _script("dagster-webserver"),
                *("-h", HOST, "-p", str(settings.dagster_port)),
                *workspace,
            ],
            f"http://{HOST}:{settings.dagster_port}",
            "/server_info",
            logs / "dagster-webserver.log",
        ),
        Server(
            "Dagster daemon",
            [_script("dagster-daemon"), "run", *workspace],
            "",
            None,
            logs / "dagster-daemon.log",
        ),
        Server(
            "Connect app",
            [*own, "serve-connect"],
            f"http://{HOST}:{settings.connect_port}",
            "/healthz",
            logs / "connect.log",
        ),
    ]
    if is_sandboxed:
        sandbox = Server(
            "Sandbox Pipedrive",
            [*own, *SANDBOX_COMMAND, "--port", str(settings.sandbox_port)],
            f"http://{HOST}:{settings.sandbox_port}",
            "/",
            logs / "sandbox.log",
        )
        found.insert(0, sandbox)
    return found


def _announce(session: Session, *, is_sandboxed: bool) -> None:
    settings = session.settings
    urls = {
        "Dagster UI": f"http://{HOST}:{settings.dagster_port}",
        "Connect app": f"http://{HOST}:{settings.connect_port}",
    }
    if is_sandboxed:
        urls["Sandbox Pipedrive"] = f"http://{HOST}:{settings.sandbox_port}"
    up_file = settings.pipeline_home / "up.json"
    names = {name.split()[0].lower(): url for name, url in urls.items()}
    up_file.write_text(json.dumps({**names, "pid": os.getpid()}, indent=2) + "\n")
    print_facts({**urls, "psql": "./run psql", "stop": "Ctrl-C"})
    operator = settings.operator()
    if operator and settings.is_embedded and terminal.is_terminal:
        print_facts({"operator key": operator.get_secret_value()})


def _require_free_ports(settings: Settings, *, is_sandboxed: bool) -> None:
    require_free(settings.dagster_port, "DAGSTER_PORT")
    require_free(settings.connect_port, "CONNECT_PORT")
    if is_sandboxed:
        require_free(settings.sandbox_port, "SANDBOX_PORT")


def _stop_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _script(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).with_name(name))
