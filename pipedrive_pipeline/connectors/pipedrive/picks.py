"""Single records of Pipedrive: by hundreds with `ids=`, and one by one.

Belongs here: what a record's presence or absence under its id means. Does not belong here: lists
(`walks.py`), what is done about a record that is gone (`ingest/`).

Rests on https://pipedrive.readme.io/docs/pipedrive-api-v2 (read 2026-09); whether a deleted
organization or person answers 200 with `is_deleted` or 404 is not documented, so both count.
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.answers import Ask
from pipedrive_pipeline.connectors.base import Page, Standing
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.entities import GET_TOKENS, PAGE_LIMIT, Endpoint
from pipedrive_pipeline.connectors.pipedrive.envelope import listed, single
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.errors import SourceBroke

Params = dict[str, str | int]


async def pick(client: Client, endpoint: Endpoint, ids: list[str]) -> list[Page]:
    """The answers with the records of at most 100 ids; unknown and invisible ones are absent.

    A source that gives fewer on a page than were asked for is asked for the next one: what is not
    read would be taken for deleted.

    Raises:
        SourceBroke: there are more pages than ids.
    """
    spec = endpoint.spec
    params: Params = {"ids": ",".join(ids), "limit": PAGE_LIMIT}
    pages: list[Page] = []
    for _ in ids:
        ask = Ask(f"pick {spec.name}", endpoint.path, spec.tokens_per_page, params)
        page = await client.fetch(ask, listed)
        pages.append(Page(page.records, page.sent, page.arrived, misfits=page.misfits))
        if page.next_cursor is None:
            return pages
        params = {**params, "cursor": page.next_cursor}
    raise SourceBroke(
        f"Pipedrive, pick {spec.name}: an answer for {len(ids)} ids does not end; run again."
    )


async def standing(client: Client, endpoint: Endpoint, record_id: str) -> Standing:
    """What became of a record that lists no longer hold."""
    ask = Ask(f"get {endpoint.spec.name}", f"{endpoint.path}/{record_id}", GET_TOKENS, {})
    try:
        record = await client.fetch(ask, single)
    except SourceRefused as error:
        if error.status not in {403, 404}:
            raise
        return "invisible" if error.status == 403 else "deleted"
    return "deleted" if bytes(record.get("is_deleted", b"false")) == b"true" else "live"
