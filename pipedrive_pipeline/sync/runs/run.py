"""One run of one tenant, from lock to history row: read, build, publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipedrive_pipeline import marts
from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.errors import BadInput, Cancelled, Killed, NotProven, full_disk
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.ingest.reading import CHUNK_ROWS, Reader
from pipedrive_pipeline.ingest.rejections import listed_by_field
from pipedrive_pipeline.marts.health import MartHealth, mart_health
from pipedrive_pipeline.marts.sinks import SinkFailed, feed_sinks
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.budget import daily_budget
from pipedrive_pipeline.sync.budget.pricing import Price, rows_in_raw
from pipedrive_pipeline.sync.runs import held_deletions, history, requests
from pipedrive_pipeline.sync.runs.field_facts import (
    FieldFacts,
    MartColumn,
    field_facts,
    mart_columns,
)
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.progress import ProgressWriter
from pipedrive_pipeline.sync.runs.scratch import scratch
from pipedrive_pipeline.sync.runs.source_access import SourceAccess, utc_now
from pipedrive_pipeline.sync.runs.tenant_stores import open_tenant_stores
from pipedrive_pipeline.sync.schedule.cycles import entities_waiting
from pipedrive_pipeline.sync.signals.serving import SignalsInWalk
from pipedrive_pipeline.sync.status import alerts
from pipedrive_pipeline.sync.status.entity_states import SourceComparison, last_comparisons
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.sync.tenancy.expiry import erase_expired
from pipedrive_pipeline.sync.tenancy.person_erasure import erase_returned_records
from pipedrive_pipeline.sync.tenancy.retention import delete_old_history
from pipedrive_pipeline.warehouse.catalog import row_counts
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

VIEWS_DUE = (
    "the views wait for a session that has an open transaction on them; every row is in crm, and "
    "the sensor due_views tries again each minute"
)
SKIPPED = "not read, and as old as before, because the source refuses it: {skipped}"
UNHEALED = (
    "{count} rows of crm.{mart} are not as raw makes them even after they were written (a trigger "
    "of the app may change them), or raw does not have them and they are too many to be marked as "
    "deleted unasked (`sweep --confirm` does)"
)
LOST = (
    "{count} values that raw has are in no view and no column of {mart}, and not listed as "
    "rejected: {shown}"
)


@dataclass(frozen=True)
class RawFacts:
    """What raw holds of one entity."""

    rows: int
    rejected: Mapping[str, int]  # records and values that it could not store, by field


class TenantRun:
    """A run that holds its lock and has its row in the history."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        row: history.HistoryRow,
        lock: TenantLock,
        *,
        on_page: Callable[[EntityRead], None],
        on_price: Callable[[Price], None],
        now: daily_budget.Now,
        chunk_rows: int,
    ) -> None:
        self.facts, self.row = row.facts, row
        self._scope = row.facts.scope
        self._warehouse, self._settings, self._lock = warehouse, settings, lock
        self._source = SourceAccess(
            warehouse,
            settings,
            self._scope,
            is_increment=self.facts.sync_type == "incremental",
            now=now,
        )
        self._source.usage.run_id = row.id
        self._progress = ProgressWriter(
            warehouse, self._scope, row.id, tokens_spent=lambda: self._source.usage.tokens_spent
        )
        self._on_page, self._on_price, self._now = on_page, on_price, now
        self._chunk_rows = chunk_rows
        self._files = ExitStack()
        self._health: MartHealth | None = None  # of the last build
        self._price: Price | None = None
        self._raw_facts: dict[str, RawFacts] = {}  # by entity
        self.chosen: frozenset[str] = frozenset()  # names of the entities that this run reads

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Writes any error of the block to the history and raises it again.

        An interrupt, which is no `Exception`, is `Killed` there, unless it is known to be a
        cancellation.
        """
        try:
            with self._lock.superseding():
                yield
        except Exception as error:
            named = full_disk(error) or error
            if named not in self.row.errors:
                self.row.errors.append(named)
            if named is error:
                raise
            raise named from error
        except BaseException:
            if not any(isinstance(error, Cancelled | Killed) for error in self.row.errors):
                self.row.errors.append(Killed(self._scope.tenant.slug))
            raise

    def price(self, entities: Sequence[str] | None = None) -> Price:
        """Returns the cost of a full read of these entities, shown before the read begins."""
        self._price = self._source.price(self._chosen(entities))
        self._on_price(self._price)
        return self._price

    def read(self, entities: Sequence[str] | None = None) -> Iterator[EntityRead]:
        """Yields each entity's read once it is committed whole, or was skipped.

        An entity that is not required is skipped where the source refuses it.

        Raises:
            PipelineError: the first entity's error, raised after all other entities were read.
        """
        failed: list[EntityRead] = []
        self._begin_act()
        chosen = self._chosen(entities)
        self._progress.on_reading(self._expected_rows())
        try:
            for read in self._reader().read(
                chosen,
                is_full=self.facts.sync_type != "incremental",
                # A resumed sweep would miss deletions in the part that was already read.
                is_restarted=self.facts.is_restarted or self.facts.sync_type == "sweep",
            ):
                self.row.reads[read.entity.name] = read
                if read.is_complete or read.is_set_aside:
                    yield read
                else:
                    failed.append(read)
        finally:
            self._note_skipped()
            self._source.usage.write()
            self.row.api_calls = self._source.usage.api_calls
            self.row.tokens_spent = self._source.usage.tokens_spent
        errors = [read.error for read in failed if read.error]
        self._source.note_spent_days(errors)
        self.row.errors.extend(errors[1:])
        if errors:
            raise errors[0]

    def _expected_rows(self) -> dict[str, int]:
        """Returns how many records this run will read, by entity; empty if it reads changes."""
        if self.facts.sync_type == "incremental":
            return {}
        rows = self._price.rows if self._price else None
        if rows is None:
            with self._warehouse.transaction(self._scope.tenant) as connection:
                rows = rows_in_raw(connection, self._scope)
        return {name: count for name, count in rows.items() if name in self.chosen and count}

    def _note_skipped(self) -> None:
        skipped = [
            f"{name} ({read.error})" for name, read in self.row.reads.items() if read.is_set_aside
        ]
        if skipped:
            self.row.warnings["skipped"] = SKIPPED.format(skipped="; ".join(skipped))

    def build_marts(self) -> marts.MartsBuilt:
        """Updates `crm.customers` and `crm.contacts` from raw, or changes nothing."""
        self._begin_act()
        return self._built()

    def publish_views(self) -> None:
        """Updates the tenant's views to the marts' columns, or warns that they are due."""
        self._begin_act()
        self._published()

    def assert_proven(self, facts: Mapping[str, FieldFacts]) -> None:
        """Fails a run of `verify` if a comparison is not proven and could not be healed.

        Raises:
            NotProven: names the tables or fields, and the next step.
        """
        if self.facts.sync_type != "verify":
            return
        reasons = list(self.row.warnings.values())
        built = self.row.built
        for name, comparison in (built.compared if built else {}).items():
            if comparison.unhealed:
                reasons.append(UNHEALED.format(count=comparison.unhealed, mart=name))
        for name, fact in facts.items():
            if fact.lost:
                shown = ", ".join(f"{key} of {record}" for record, key in fact.lost[:10])
                reasons.append(LOST.format(count=len(fact.lost), mart=name, shown=shown))
        if reasons:
            raise NotProven(self._scope.tenant.slug, reasons)

    def assert_sinks_fed(self) -> None:
        """Fails a run whose sinks could not be fed; marts and views are as they should be.

        Raises:
            SinkFailed: names each sink, with table, column and constraint.
        """
        if messages := [fed.message for fed in self.row.sinks if fed.message]:
            raise SinkFailed(f"{self._scope.tenant}: {' '.join(messages)}")

    def build_around_failures(self) -> marts.MartsBuilt | None:
        """Builds and publishes after failed reads, if no failure affects the other entities.

        A missing right to organizations must not stop updates of contacts. Returns None if a
        failure affects all entities, or no entity that the marts need was read completely.
        """
        reads = self.row.reads
        failed = [read for read in reads.values() if not (read.is_complete or read.is_set_aside)]
        entities = history.entity_by_mart(self._scope.system).values()
        is_any_whole = any(reads[name].is_complete for name in entities if name in reads)
        if not (failed and is_any_whole and all(read.is_isolated_failure for read in failed)):
            return None
        built = self._built()
        self._published()
        return built

    def _built(self) -> marts.MartsBuilt:
        scope, sync_type = self._scope, self.facts.sync_type
        self._progress.on_building()
        with self._lock.with_marts() as lock:
            is_raw_ours = lock.covers(scope.raw_lock)  # otherwise a read may be active
            erase_returned_records(lock.warehouse, scope, is_raw_ours=is_raw_ours)
            self.row.built = marts.build(
                lock.warehouse,
                scope,
                is_whole=sync_type != "incremental",
                is_verifying=sync_type == "verify",
                is_confirmed=self.facts.is_confirmed,
                is_read_running=not is_raw_ours,
                is_raw_held=not is_raw_ours,
            )
            if is_raw_ours:
                self.row.erased += erase_expired(lock.warehouse, scope)
        self._feed_sinks()
        return self.row.built

    def _feed_sinks(self) -> None:
        """Feeds the apps' tables, without the lock on the marts: an app holds up no build."""
        self.row.sinks = feed_sinks(self._lock.warehouse, self._scope, is_whole=True)
        for fed in self.row.sinks:
            self.row.warnings.pop(f"sink_{fed.sink.name}", None)
            if fed.message:
                self.row.warnings[f"sink_{fed.sink.name}"] = fed.message

    def _published(self) -> None:
        with self._lock.with_marts() as lock:
            is_published = marts.publish_or_defer(lock.warehouse, self._scope.tenant)
        if not is_published:
            self.row.warnings["views_due"] = VIEWS_DUE

    def mart_facts(self) -> tuple[MartHealth, dict[str, tuple[MartColumn, ...]]]:
        """Returns the marts' health, and each mart's columns with their sources."""
        scope = self._scope
        with self._warehouse.transaction(scope.tenant, (scope.raw_schema,)) as connection:
            self._health = mart_health(connection, scope)
            return self._health, mart_columns(connection, scope)

    def live_rows(self) -> dict[str, int]:
        """Returns the tenant's live rows of each mart, which its view shows."""
        health = self._health or self.mart_facts()[0]
        return {name: volume.of_tenant for name, volume in health.volumes.items()}

    def last_comparisons(self) -> dict[str, SourceComparison]:
        """Returns the last comparison of each entity with the source, by name."""
        scope = self._scope
        with self._warehouse.transaction(scope.tenant) as connection:
            return last_comparisons(connection, scope.tenant, scope.system)

    def raw_facts(self, entity: Entity) -> RawFacts:
        """Returns what raw holds of an entity that this run has read whole.

        The facts of all entities that are committed by now are read together.
        """
        if entity.name not in self._raw_facts:
            committed = [
                read.entity
                for name, read in self.row.reads.items()
                if read.is_complete and name not in self._raw_facts
            ]
            with self._warehouse.transaction(self._scope.tenant) as connection:
                names = [each.name for each in committed]
                rows = row_counts(connection, self._scope.raw_schema, names)
                listed = listed_by_field(connection, self._scope, committed)
            self._raw_facts |= {name: RawFacts(rows[name], listed[name]) for name in names}
        return self._raw_facts[entity.name]

    def field_facts(self) -> dict[str, FieldFacts]:
        """Returns the facts of the tenant's custom fields, by mart."""
        is_verifying = self.facts.sync_type == "verify"
        built_from = self.row.built.built_from if self.row.built else None
        compared, facts = field_facts(
            self._warehouse, self._scope, is_whole=is_verifying, built_from=built_from
        )
        self.row.values = compared if is_verifying else None
        return facts

    def _begin_act(self) -> None:
        """Clears the errors of an earlier attempt: any error stops the steps that follow."""
        self.row.errors.clear()
        self._raw_facts.clear()

    def remove_files(self) -> None:
        """Removes all files that contain rows; dlt keeps the files of completed jobs."""
        self._files.close()

    def _reader(self) -> Reader:
        self.remove_files()  # of an earlier attempt
        facts = self.facts
        folder = scratch(self._settings, self._warehouse, facts.scope)
        stores = open_tenant_stores(
            self._files.enter_context(folder),
            self._lock,
            self._source,
            is_confirmed=self.facts.is_confirmed,
            confirmed=held_deletions.confirmed(self._warehouse, self._scope),
        )
        self._files.callback(stores.raw.close)
        signals = SignalsInWalk(self._lock, self._scope, stores.signalled)
        return Reader(
            raw=stores.raw,
            seen_keys=stores.seen_keys,
            deletions=stores.deletions,
            reconciler=stores.reconciler,
            open_source=self._source.open,
            on_call=self._source.usage.on_call,
            on_page=self._note_page,
            before_load=stores.before_load,
            due_parents=stores.due_parents,
            known_reads=stores.known_reads,
            now=self._now,
            after_chunk=signals.serve,
            is_awaited=signals.are_waiting,
            tokens_left=lambda: self._source.allowance.left,
            chunk_rows=self._chunk_rows,
        )

    def _chosen(self, names: Sequence[str] | None) -> list[Entity]:
        entities = self._source.entities
        for name in names or ():
            if name not in entities:
                raise BadInput(
                    f"{self._scope.system} has no entity {name!r}; it has {', '.join(entities)}."
                )
        entities_on = entities_read(self._warehouse, self._scope)
        if names and entities_on.keys().isdisjoint(names):
            raise BadInput(
                f"{self._scope.tenant} does not read {', '.join(names)}: entities_off in its "
                "settings has them."
            )
        is_sweep = self.facts.sync_type == "sweep"
        chosen = [
            spec
            for name, spec in entities_on.items()
            if (names is None or name in names) and (spec.is_swept or not is_sweep)
        ]
        is_every_entity = names is None or entities_on.keys() <= set(names)
        if self.facts.sync_type == "incremental" and is_every_entity:
            waiting = entities_waiting(self._warehouse, self._scope, self._now())
            chosen = [spec for spec in chosen if spec.name not in waiting]
        self.chosen = frozenset(spec.name for spec in chosen)
        return chosen

    def _note_page(self, read: EntityRead) -> None:
        self.row.reads[read.entity.name] = read
        if self._progress.on_page(read):
            self._source.book()
        self._on_page(read)


@contextmanager
def open_run(
    warehouse: Warehouse,
    settings: Settings,
    facts: history.RunFacts,
    lock: TenantLock,
    *,
    on_page: Callable[[EntityRead], None] = lambda _read: None,
    on_price: Callable[[Price], None] = lambda _price: None,
    now: daily_budget.Now = utc_now,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[TenantRun]:
    """Yields a run with its history row, which is always completed at the end of the block."""
    with reusing(warehouse) as reused:
        row = history.begin(reused, facts)
        run = TenantRun(
            reused,
            settings,
            row,
            lock,
            on_page=on_page,
            on_price=on_price,
            now=now,
            chunk_rows=chunk_rows,
        )
        requests.claim(reused, facts, row.id)
        try:
            with run.recorded():
                yield run
        finally:
            status = row.complete()
            requests.settle(reused, facts, row.id, status)
            if status == "paused":
                requests.requeue(reused, facts, who="a paused sync")
            alerts.notify_of_run(reused, settings, row)
            run.remove_files()
            delete_old_history(reused, facts.scope, kept_days=settings.history_kept_days)
