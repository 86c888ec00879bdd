"""The vendor's own client library for Node works against the sandbox; only the path differs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.connectors.doubles import run as run_loop
from pipedrive_pipeline_tests.connectors.test_contract import ConnectorCase, Rows, rows_of, walked
from pipedrive_pipeline_tests.sandbox.client import CALLBACK

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("npm") is None, reason="needs Node and npm, and their registry"
    ),
]
PACKAGES = ("pipedrive@33.7.0", "typescript@5")  # on npm
LISTED = 12  # kinds that our connector reads as a list of their own, not as lines of another one
# The vendor's type of a list's answer, for each kind.
TYPES = {
    "organizations": "v2.GetOrganizationsResponse",
    "persons": "v2.GetPersonsResponse",
    "pipelines": "v2.GetPipelinesResponse",
    "stages": "v2.GetStagesResponse",
    "deals": "v2.GetDealsResponse",
    "products": "v2.GetProductsResponse",
    "product_variations": "v2.GetProductVariationsResponse",
    "deal_products": "v2.GetDealsProductsResponse",
    "activities": "v2.GetActivitiesResponse",
    "notes": "v1.GetNotesResponse",
    "leads": "v1.GetLeadsResponse",
    "activity_types": "v1.GetActivityTypesResponse",
    "lead_labels": "v1.GetLeadLabelsResponse",
    "lead_sources": "v1.GetLeadsSourceResponse",
    "deal_participants": "v1.GetDealParticipantsResponse",
}
# Keys of live answers that the vendor's types lack; a participant's user has another shape there.
BEYOND_THE_TYPES = {
    "organizations": r"picture_id|formatted_address",
    "persons": r"formatted_address",
    "deals": r"creator_user_id|archive_time|local_(won|lost|close)_date",
    "notes": r"pinned_to_lead_flag|lead",
    "leads": r"archive_time|[0-9a-f]{40}(_\w+)?",
    "activities": r"formatted_address",
    "deal_participants": r"added_by_user_id",
}
# Live answers have nulls where the vendor's document allows none; see docs/sandbox.md.
NULL_REFUSED = re.compile(r"Type 'null' is not assignable to type")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the vendor's client and a compiler for its types."""
    folder = tmp_path_factory.mktemp("sdk")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    subprocess.run(install, check=True, capture_output=True)
    return folder


def test_the_vendors_client_reads_and_writes_every_kind_and_authorizes(
    sandbox: Sandbox, folder: Path
) -> None:
    """Across page borders it finds the rows that the sandbox says are there, as our reader does."""
    script = Path(__file__).with_name("vendor_sdk.js")
    shutil.copy(script, folder)
    kinds = {entity: [*sandbox.truth(entity)] for entity in ENTITIES}
    (folder / "truth.json").write_text(json.dumps(kinds))
    loaded = run_loop(connector_rows(sandbox))
    code = sandbox.grants.code(sandbox.account.admin_id, CALLBACK)
    credentials = [sandbox.api_token, sandbox.client_id, sandbox.client_secret, code]

    run = subprocess.run(
        ["node", script.name, sandbox.url, *credentials],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    read = json.loads((folder / "read.json").read_text())
    assert set(read) == set(ENTITIES)
    for entity, rows in loaded.items():
        key = PIPEDRIVE.by_name[entity].key.name
        assert rows.keys() == {str(row[key]) for row in read[entity]}
        for row in read[entity]:
            assert {name: rows[str(row[key])][name] for name in row} == row


async def connector_rows(sandbox: Sandbox) -> dict[str, Rows]:
    """What our own connector reads of every kind that has a list, by entity and key."""
    case = ConnectorCase(
        PIPEDRIVE,
        "deals",
        sandbox.url,
        sandbox.api_token,
        truth=lambda _: {},
        edit=str,
        add=str,
        entities=tuple(ENTITIES),
    )
    rows = {}
    async with case.opened() as source:
        for name, spec in case.by_name.items():
            pages = await walked(source, case, name, None)
            rows[name] = rows_of(pages, spec.key.name)
    assert len(rows) >= LISTED
    return rows


def test_the_vendors_types_refuse_nothing_but_nulls(sandbox: Sandbox, folder: Path) -> None:
    lines = ['import type * as v1 from "pipedrive/v1";', 'import type * as v2 from "pipedrive/v2";']
    for entity, name in TYPES.items():
        rows = [_without(row, entity) for row in sandbox.truth(entity)]
        kind = f'NonNullable<{name}["data"]>'
        lines.append(f"export const {entity}: {kind} = {json.dumps(rows)};")
    (folder / "rows.ts").write_text("\n".join(lines))

    compiler = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck"]
    modules = ["--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022"]
    run = subprocess.run(
        [*compiler, *modules, "rows.ts"], cwd=folder, capture_output=True, text=True, check=False
    )

    complaints = run.stdout.splitlines()
    assert any(NULL_REFUSED.search(line) for line in complaints)  # so it did look at the rows
    assert [line for line in complaints if not NULL_REFUSED.search(line)] == []
    assert set(TYPES) == set(ENTITIES)


def _without(value: Any, entity: str) -> Any:
    """A value without the keys that only live answers have."""
    beyond = BEYOND_THE_TYPES.get(entity, "-")
    if isinstance(value, dict):
        typed = {key: item for key, item in value.items() if not re.fullmatch(beyond, key)}
        return {key: _without(item, entity) for key, item in typed.items()}
    return [_without(item, entity) for item in value] if isinstance(value, list) else value
