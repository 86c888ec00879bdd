"""The command for a look-alike of Pipedrive: its options, and the lines it prints at start."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.sandbox.kit.state import kept_in
from pipedrive_pipeline.sandbox.pipedrive.options import Options
from pipedrive_pipeline.sandbox.pipedrive.service import PipedriveService
from pipedrive_pipeline.sandbox.pipedrive.serving import run
from pipedrive_pipeline.sandbox.pipedrive.world.seeding import seeded


class Consent(StrEnum):
    """How the authorize page answers."""

    auto = "auto"
    page = "page"


class Plan(StrEnum):
    """The company's plan, which sets its limits."""

    lite = "lite"
    growth = "growth"
    premium = "premium"
    ultimate = "ultimate"


class Unset(StrEnum):
    """How answers show an organization or a part of a name that a person lacks."""

    null = "null"
    absent = "absent"


class Rotation(StrEnum):
    """Whether a refresh gives a new refresh token."""

    on = "on"
    off = "off"


def run_sandbox(  # noqa: PLR0917 (Typer reads one parameter per flag)
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 takes any free one.")
    ] = 8100,
    organizations: Annotated[int, typer.Option(min=0, help="How many to seed.")] = 1_200,
    persons: Annotated[int, typer.Option(min=0, help="How many to seed.")] = 3_500,
    deals: Annotated[
        int | None, typer.Option(min=0, help="How many to seed; as many as organizations.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes another company.")] = 7,
    api_token: Annotated[
        str, typer.Option(help="The admin's personal API token.")
    ] = Options.api_token,
    client_id: Annotated[str, typer.Option(help="Of the OAuth app.")] = Options.client_id,
    client_secret: Annotated[str, typer.Option(help="Of the OAuth app.")] = Options.client_secret,
    redirect_uri: Annotated[
        str | None, typer.Option(help="The app's one callback; without it any is accepted.")
    ] = None,
    consent: Annotated[
        Consent, typer.Option(help="auto: consent at once; page: ask in the browser.")
    ] = Consent.auto,
    plan: Annotated[Plan, typer.Option(help="Sets daily budget and burst limits.")] = Plan.ultimate,
    seats: Annotated[int, typer.Option(min=1, help="Paid seats; multiply the budget.")] = 10,
    rotation: Annotated[
        Rotation, typer.Option(help="on: each refresh gives a new refresh token.")
    ] = Rotation.off,
    latency_ms: Annotated[int, typer.Option(min=0, help="Wait before each answer.")] = 0,
    same_second: Annotated[
        int, typer.Option(min=0, help="Rows of each kind that share one update_time.")
    ] = 0,
    unset: Annotated[
        Unset, typer.Option(help="What a person without org_id or last_name has there.")
    ] = Unset.null,
    state: Annotated[
        Path | None,
        typer.Option(help="A file that keeps edits and grants, so that a restart loses none."),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Open /_sandbox: edits, faults, clock, history.")
    ] = False,
) -> None:
    """Run a make-believe Pipedrive company on this machine, until interrupted."""
    options = Options(
        api_token=api_token,
        client_id=client_id,
        client_secret=client_secret,
        redirect_uri=redirect_uri,
        consent=consent.value,
        plan=plan.value,
        seats=seats,
        rotates_refresh_token=rotation is Rotation.on,
        latency_seconds=latency_ms / 1_000,
        has_control=control,
    )
    account = seeded(
        organizations,
        persons,
        deals=deals,
        seed=seed,
        same_second=same_second,
        shows_unset=unset is Unset.null,
    )
    service = PipedriveService(account, options)
    try:
        with kept_in(service, state) if state else nullcontext():
            run(service, port, announce=lambda url: _announce(url, options))
    except ValueError as error:
        typer.echo(f"sandbox: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"sandbox: port {port} is taken; choose another with --port", err=True)
        raise typer.Exit(1) from error


def _announce(url: str, options: Options) -> None:
    header = f"x-api-token: {options.api_token}"
    typer.echo(f"Pipedrive sandbox   {url}")
    typer.echo(f"API token           {options.api_token}")
    typer.echo(f"OAuth app           {options.client_id} / {options.client_secret}")
    typer.echo(f"Try                 curl -H '{header}' '{url}/api/v2/organizations?limit=1'")
