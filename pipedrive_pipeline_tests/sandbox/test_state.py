"""A sandbox that is started again from its file serves the same company."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import Options, PipedriveService, Sandbox, seeded, serve, truth
from pipedrive_pipeline.sandbox.kit.state import kept_in, load, save
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES

CALLBACK = "http://127.0.0.1/back"


def edit(sandbox: Sandbox) -> None:
    """Edits of every kind that a person can make by clicking."""
    account = sandbox.account
    account.create("organizations", name="Neu GmbH")
    account.edit("organizations", 3, name="Umbenannt AG")
    account.delete("persons", 4)
    account.merge("organizations", 5, 6)
    account.edit("deals", 4, stage_id=9, status="won")
    account.delete("deals", 3)
    account.create("deal_products", deal_id=4, product_id=1, item_price=5)
    lead = printed_id(ENTITIES["leads"], 2)
    account.edit("leads", lead, title="Umbenannt")
    account.create("notes", content="<p>Neu</p>", lead_id=lead)
    account.create("stages", name="Neu", pipeline_id=2)
    account.fields["persons"].add("Lieblingsfarbe", "enum", ["rot", "blau"])
    dropped = next(field for field in account.fields["organizations"] if field.is_custom)
    account.fields["organizations"].drop(dropped.code)
    account.set_rights(account.users[1]["id"], "none")
    account.clock.advance(3_600)
    sandbox.grants.new_api_token(account.users[1]["id"])
    sandbox.grants.exchange(sandbox.grants.code(account.admin_id, CALLBACK), CALLBACK)


def test_edits_fields_rights_clock_and_grants_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    with serve(seeded(20, 40)) as former, kept_in(former.service, file):
        edit(former)

    with serve(seeded(20, 40)) as later, kept_in(later.service, file):
        for entity in ENTITIES:
            assert [*truth(later.account, entity)] == [*truth(former.account, entity)]
        for entity, book in later.account.fields.items():
            assert [*book] == [*former.account.fields[entity]]
            assert book.dropped == former.account.fields[entity].dropped
        assert later.account.rights == former.account.rights
        assert later.account.deleted_at == former.account.deleted_at
        assert later.grants.pairs() == former.grants.pairs()
        assert later.grants.api_tokens == former.grants.api_tokens
        assert later.clock.shift_seconds == pytest.approx(3_600, abs=5)
        assert later.account.create("organizations", name="Die nächste")["id"] == 24

    assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    save(PipedriveService(seeded(2, 2), Options()), file)
    file.write_bytes(file.read_bytes()[:-20])

    with pytest.raises(ValueError, match="delete it"):
        load(PipedriveService(seeded(2, 2), Options()), file)
