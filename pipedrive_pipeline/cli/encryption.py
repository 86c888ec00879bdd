"""`rotate-keys`: a new encryption key for everything that is stored sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import errors, print_json, terminal
from pipedrive_pipeline.cli.session import open_session
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.vault.rotation import rotate_keys as rotate
from pipedrive_pipeline.vault.vault import Vault, open_vault


def rotate_keys(
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Give up secrets that no key opens, and name them."),
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="With --discard: the keys are right; give them up.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Seal every stored secret with the first of TOKEN_ENCRYPTION_KEYS, while syncs run."""
    session = open_session()
    vault = open_vault(session.warehouse, session.settings)
    if discard and not confirm:
        _require_nothing_lost(vault)
    rotated = rotate(vault, is_discarding=discard)
    if json:
        print_json(asdict(rotated) | {"unreadable_count": rotated.unreadable_count})
        return
    became = "were discarded" if discard else "cannot be read"
    terminal.print(
        f"{rotated.resealed_count} secrets sealed anew, {rotated.current_count} had the first key "
        f"already, {rotated.unreadable_count} {became}."
    )
    _print_each(rotated.unreadable)


def _require_nothing_lost(vault: Vault) -> None:
    """Returns if every secret can be opened.

    Raises:
        BadInput: some would be given up, perhaps because a key was mistyped; they are printed.
    """
    unreadable = rotate(vault, is_discarding=True, is_trial=True).unreadable
    if unreadable:
        _print_each(unreadable)
        raise BadInput(
            f"{len(unreadable)} secrets would be given up, nothing was changed; if "
            "TOKEN_ENCRYPTION_KEYS is right, run it again with --confirm."
        )


def _print_each(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        errors.print(sentence, soft_wrap=True)
