"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

TenantOption = Annotated[str, typer.Option("--tenant", help="The tenant's name, such as acme.")]
SystemOption = Annotated[
    str | None,
    typer.Option("--system", help="Key of the system; else every one."),
]
OneSystemOption = Annotated[
    str | None,
    typer.Option("--system", help="Key of the system; needed if there are several."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
