"""Options that several commands share, and the file that `--file` names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipedrive_pipeline.errors import BadInput

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


def read_json(file: Path) -> Any:
    """Returns the JSON in the file that `--file` names.

    Raises:
        BadInput: it cannot be read, is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--file {file}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise BadInput(f"--file {file}: is no JSON.") from None
