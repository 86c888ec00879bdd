"""What a person reviews, for the JSON routes and the pages: held deletions, rejected values."""

from __future__ import annotations

import psycopg
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import review_models
from pipedrive_pipeline.connect.errors import DecidedMeanwhile, NotFound
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import held_deletions, requests
from pipedrive_pipeline.sync.status.deletion_examples import deletion_examples
from pipedrive_pipeline.sync.status.rejected_values import as_csv, rejected_values

CSV_ROWS = 100_000
BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not read the file as UTF-8


def held(connection: psycopg.Connection, scope: Scope) -> list[review_models.HeldDeletionsShown]:
    """Held deletions of one system, by entity, with examples."""
    return [_shown(connection, scope, row) for row in held_deletions.held(connection, scope)]


def decide(
    connection: psycopg.Connection,
    scope: Scope,
    entity: str,
    wanted: review_models.DeletionDecision,
    *,
    who: str,
) -> review_models.HeldDeletionsShown:
    """Stores a decision, and requests the sweep that acts on a confirmation.

    Raises:
        NotFound: nothing of this entity is held back.
        DecidedMeanwhile: a sweep has compared again since the person looked.
        NotConnected, ReauthNeeded: a sweep needs a connection; nothing was changed.
    """
    if all(row.entity != entity for row in held_deletions.held(connection, scope)):
        raise NotFound("Nothing of this kind is held back.")
    if wanted.decision == "confirmed":
        requests.request_sync(connection, scope, "sweep", who=who, is_for_change=True)
    is_stored = held_deletions.decide(
        connection, scope, entity, wanted.decision, found_at=wanted.found_at, who=who
    )
    if not is_stored:
        raise DecidedMeanwhile
    (row,) = (row for row in held_deletions.held(connection, scope) if row.entity == entity)
    return _shown(connection, scope, row)


def csv_file(connection: psycopg.Connection, scope: Scope) -> Response:
    """The rejected values as a file to download."""
    rows = rejected_values(connection, scope, limit=CSV_ROWS)
    return Response(
        BYTE_ORDER_MARK + "".join(as_csv(rows)),
        media_type="text/csv; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="rejected-values-{scope.system}.csv"'
        },
    )


def _shown(
    connection: psycopg.Connection, scope: Scope, row: held_deletions.HeldDeletions
) -> review_models.HeldDeletionsShown:
    return review_models.HeldDeletionsShown(
        entity=row.entity,
        known=row.known,
        gone=row.gone,
        found_at=row.found_at,
        run_id=row.run_id,
        decision=row.decision,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        examples=[
            review_models.DeletionExampleShown(
                id=example.id, name=example.name, changed_at=example.changed_at
            )
            for example in deletion_examples(connection, scope, row)
        ],
    )
