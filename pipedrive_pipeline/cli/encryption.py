"""`rotate-keys`: a new encryption key for everything that is stored sealed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import errors, print_json, terminal
from pipedrive_pipeline.cli.session import open_session
from pipedrive_pipeline.vault.rotation import rotate_keys as rotate
from pipedrive_pipeline.vault.vault import open_vault


def rotate_keys(
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Give up secrets that no key opens, and name them."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Seal every stored secret with the first of TOKEN_ENCRYPTION_KEYS, while syncs run."""
    session = open_session()
    rotated = rotate(open_vault(session.warehouse, session.settings), is_discarding=discard)
    if json:
        print_json(asdict(rotated) | {"unreadable_count": rotated.unreadable_count})
        return
    became = "were discarded" if discard else "cannot be read"
    terminal.print(
        f"{rotated.resealed_count} secrets sealed anew, {rotated.current_count} had the first key "
        f"already, {rotated.unreadable_count} {became}."
    )
    for sentence in rotated.unreadable:
        errors.print(sentence, soft_wrap=True)
