"""A served CRM, a warehouse and a tenant between them: what scenarios start from.

Belongs here: one builder of that world, and reading what its tables hold. Does not belong here:
facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.connect.consent.company_change import start_afresh
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.marts import MartsBuilt
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.history import RunFacts, SyncType, settle_dead
from pipedrive_pipeline.sync.runs.lock import run_lock, tenant_lock
from pipedrive_pipeline.sync.runs.run import TenantRun, open_run
from pipedrive_pipeline.sync.tenancy import registry, removal
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connect import connect_with_api_token
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios import first_sync

SYSTEM = "pipedrive"
ACME = Tenant("acme")
TOKEN_KEY = SecretStr(Fernet.generate_key().decode())  # of all worlds of this process


@dataclass(frozen=True)
class Synced:
    """What one run came to."""

    reads: dict[str, EntityRead]
    built: MartsBuilt


@dataclass(frozen=True)
class World:
    """One warehouse and its settings; tenants are connected to sandboxes."""

    warehouse: Warehouse
    settings: Settings
    sandboxes: dict[Tenant, Sandbox] = field(default_factory=dict)  # connected by an API token

    def connect(self, tenant: Tenant, sandbox: Sandbox, *, is_other_company: bool = False) -> None:
        """Registers the tenant and connects it with the sandbox's API token."""
        registry.add(self.warehouse, self.settings, tenant)
        connect_with_api_token(
            open_vault(self.warehouse, self.settings),
            Scope(tenant, SYSTEM),
            SecretStr(sandbox.api_token),
            sandbox.url,
            who="a test",
            start_afresh=start_afresh if is_other_company else None,
        )
        self.sandboxes[tenant] = sandbox

    def erase(self, tenant: Tenant = ACME) -> None:
        """Removes the tenant with all its data."""
        vault = open_vault(self.warehouse, self.settings)
        with tenant_lock(self.warehouse, tenant) as lock:
            removal.end(vault, tenant, is_erasing=True, who="a test")
            lock.drop()

    def at_home(self, home: Path) -> World:
        """The same warehouse, used by a machine with other scratch files."""
        settings = self.settings.model_copy(update={"pipeline_home": home})
        return replace(self, settings=settings)

    def cut_off(self, tenant: Tenant = ACME) -> None:
        """Ends every transaction and with it every lock, as a failover does."""
        with self.warehouse.connect(autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
                " and xact_start is not null"
            )
        self.wait_for_the_dead(tenant)

    def sync(
        self,
        tenant: Tenant = ACME,
        sync_type: SyncType = "incremental",
        entities: Sequence[str] | None = None,
        **more: Any,
    ) -> Synced:
        """One run without Dagster around it: read, build, publish. `more` goes to `run`."""
        with self.run(tenant, sync_type, **more) as run:
            try:
                reads = {read.entity.name: read for read in run.read(entities)}
            except PipelineError:
                run.build_around_failures()
                raise
            built = run.build_marts()
            run.publish_views()
        return Synced(reads, built)

    def first_sync(self) -> None:
        """Acme's full sync into an empty database; a test about this sync calls `sync` itself."""
        first_sync.copy_or_sync(
            self.warehouse.url, self.sandboxes[ACME], partial(self.sync, sync_type="full")
        )

    def store(self, tenant: Tenant = ACME) -> RawStore:
        """The tenant's raw tables, as a new run finds them."""
        directory = self.settings.pipeline_home / "a test's store"
        return RawStore(self.warehouse, Scope(tenant, SYSTEM), directory)

    @contextmanager
    def run(
        self,
        tenant: Tenant = ACME,
        sync_type: SyncType = "incremental",
        *,
        system: str = SYSTEM,
        is_confirmed: bool = False,
        **hooks: Any,
    ) -> Iterator[TenantRun]:
        """A run that has begun, as whoever starts one begins it. `hooks` go to `open_run`."""
        scope = Scope(tenant, system)
        facts = RunFacts(scope, sync_type, "manual", None, is_confirmed=is_confirmed)
        with run_lock(self.warehouse, scope, sync_type) as lock:
            settle_dead(lock)
            with open_run(self.warehouse, self.settings, facts, lock, **hooks) as run:
                yield run

    def wait_for_the_dead(self, tenant: Tenant = ACME) -> None:
        """Returns when Postgres has noticed that the tenant's killed process is gone."""
        name = Scope(tenant, SYSTEM).raw_lock
        with self.warehouse.lock_session(name) as session:
            locks.take(session, name, wait_seconds=60)

    def rows(
        self, schema: str, table: str, order_by: str = "id", *, tenant: Tenant | None = None
    ) -> list[dict[str, Any]]:
        """A table's rows as dicts, with their `xmin` (which changes when a row is rewritten).

        Args:
            schema: where it lies.
            table: its name.
            order_by: a column.
            tenant: whose rows of a table that holds all tenants'; None for all.
        """
        whose = sql.SQL("where tenant_id = {}").format(tenant.slug) if tenant else sql.SQL("")
        query = sql.SQL("select xmin::text as xmin, * from {} {} order by {}").format(
            sql.Identifier(schema, table), whose, sql.Identifier(order_by)
        )
        with self.warehouse.connect() as connection:
            return connection.cursor(row_factory=dict_row).execute(query).fetchall()

    def rows_of_view(
        self, schema: str, view: str, order_by: str = "pipedrive_id"
    ) -> list[dict[str, Any]]:
        """A view's rows as dicts."""
        query = sql.SQL("select * from {} order by {}").format(
            sql.Identifier(schema, view), sql.Identifier(order_by)
        )
        with self.warehouse.connect() as connection:
            return connection.cursor(row_factory=dict_row).execute(query).fetchall()

    def raw(self, tenant: Tenant, entity: str) -> list[dict[str, Any]]:
        """Raw rows of one entity, by key."""
        order_by = PIPEDRIVE.by_name[entity].key.name
        return self.rows(Scope(tenant, SYSTEM).raw_schema, entity, order_by)

    def history(self, tenant: Tenant = ACME) -> list[dict[str, Any]]:
        """The tenant's history rows, oldest first."""
        with self.warehouse.connect() as connection:
            return (
                connection.cursor(row_factory=dict_row)
                .execute(
                    "select * from integration.sync_logs where tenant_id = %s order by started_at",
                    [tenant.slug],
                )
                .fetchall()
            )


def world_at(url: str, home: Path) -> World:
    """A world in this database; `home` takes its scratch files."""
    settings = Settings(
        database_url=SecretStr(url),
        pipeline_home=home,
        token_encryption_keys=(TOKEN_KEY,),
    ).with_system(SYSTEM, allowed_hosts=("127.0.0.1",))
    return World(databases.warehouse_at(url), settings)


@contextmanager
def environment_of(world: World) -> Iterator[dict[str, str]]:
    """The world's settings as environment variables, for commands in processes of their own."""
    settings = world.settings
    assert settings.database_url is not None
    assert settings.token_encryption_keys is not None
    yield {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "PIPELINE_HOME": str(settings.pipeline_home),
        "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
        "TOKEN_ENCRYPTION_KEYS": settings.token_encryption_keys[0].get_secret_value(),
    }
