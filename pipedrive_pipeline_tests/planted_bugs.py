"""Bugs on purpose: each is planted into a copy of the tree, and the suite must catch it.

    python -m pipedrive_pipeline_tests.planted_bugs [NAME ...]

Belongs here: the bugs, as replacements of text, and the tests that must fail for each. Does not
belong here: the tests themselves. A replacement whose text is gone is an error, so that a bug does
not silently stop to be planted when the code moves on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.settings import PROJECT_ROOT

PATIENCE_SECONDS = 600
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".local", "__pycache__", ".*_cache", ".uv*")
TESTS_FAILED = 1  # pytest's exit code; others say that it could not run them
RAW = "pipedrive_pipeline/ingest/raw.py"
PACKAGES = "pipedrive_pipeline/ingest/dlt_internals/packages.py"
VERSIONS = "pipedrive_pipeline/ingest/versions.py"
WALKS = "pipedrive_pipeline/connectors/pipedrive/walks.py"
WINDOW_WALK = "pipedrive_pipeline/connectors/pipedrive/window_walk.py"
WINDOWS = "pipedrive_pipeline/connectors/pipedrive/windows.py"
WATERMARKS = "pipedrive_pipeline/connectors/pipedrive/watermarks.py"
RECONCILIATION = "pipedrive_pipeline/ingest/reconciliation.py"
TESTS = "pipedrive_pipeline_tests"
TESTS_OF_WALKS = f"{TESTS}/connectors/test_pipedrive.py"
TESTS_OF_WINDOWS = f"{TESTS}/connectors/test_windows.py"
TESTS_OF_RAW = f"{TESTS}/ingest/test_raw.py"
TESTS_OF_HTTP = f"{TESTS}/connectors/test_http.py"
TESTS_OF_COMPARISON = f"{TESTS}/marts/test_row_comparison.py"
TESTS_OF_WEBHOOKS = f"{TESTS}/scenarios/test_webhooks.py"
TESTS_OF_DELETIONS = f"{TESTS}/scenarios/test_deletions.py"

CURSOR_FIRST = """\
        self.raw.move(chunk.cursors, chunk.plans)
        loaded = self.raw.load("""
NEXT_PAGE = """\
            page = await self._fetch(records, {**params, "cursor": page.next_cursor})
"""
TROUBLE_ENDS = """\
            try:
                page = await self._fetch(records, {**params, "cursor": page.next_cursor})
            except SourceUnavailable:
                page = replace(page, records=[], next_cursor=None)
"""
NO_CURSOR_KEY = """\
        raise NotReadable("the list does not say whether it goes on: it has no next_cursor")
"""
GREATEST_STAMP = """\
replace(
                window, since=max(text_of(record, "update_time") for record in page.records)
            )"""

SERVED_LAST = """\
    built = _build(lock, scope)
"""
SERVED_FIRST = """\
    with lock.warehouse.transaction(tenant=scope.tenant) as early:
        settle(early, scope, turn.served, turn.events)
    built = _build(lock, scope)
"""


class TextIsGone(Exception):
    """A bug can no longer be planted: its text is not there exactly once."""


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody made once, and the tests that must notice it."""

    name: str
    path: str
    replaced: tuple[tuple[str, str], ...]
    tests: str
    chosen: str = ""  # of these tests, by pytest's -k

    def plant(self, tree: Path) -> str:
        """Plants it; returns the file's former text.

        Raises:
            TextIsGone: the code has moved on, and this bug with it.
        """
        file = tree / self.path
        former = text = file.read_text()
        for old, new in self.replaced:
            if text.count(old) != 1:
                raise TextIsGone(f"{self.name}: {self.path} holds {text.count(old)} of {old!r}")
            text = text.replace(old, new)
        file.write_text(text)
        return former


BUGS = (
    Bug(
        "tenants share a staging schema",
        "pipedrive_pipeline/scope.py",
        (('f"staging_{self.pipeline_name}"', 'f"staging_{self.system}"'),),
        f"{TESTS}/scenarios/test_many_at_once.py",
        "two_tenants_synced_at_once_each",
    ),
    Bug(
        "of two overlapping answers the one read last wins",
        VERSIONS,
        (("stamp >= greatest\n", "True\n"),),
        f"{TESTS}/ingest/test_versions.py",
    ),
    Bug(
        "a walk goes by id, and its watermark is the newest stamp that it read",
        WINDOW_WALK,
        (('"sort_by": read.column', '"sort_by": "id"'),),
        TESTS_OF_WALKS,
    ),
    Bug(
        "a walk begins at its watermark, without overlap",
        WALKS,
        (("before.start - self._overlap", "before.start"),),
        f"{TESTS}/scenarios/test_edits_meanwhile.py",
        "visible_late",
    ),
    Bug(
        "stamps decide which version is newer, whatever the order of requests",
        VERSIONS,
        (
            ("if version.arrived >= last_sent and", "if"),
            ("(arrived >= last_sent, is_greatest", "(True, is_greatest"),
        ),
        f"{TESTS}/ingest/test_versions.py",
    ),
    Bug(
        "a stamp in the future is believed",
        WATERMARKS,
        (("if at and at <= self.limit), default", "if at), default"),),
        TESTS_OF_WALKS,
        "stamped_in_the_future",
    ),
    Bug(
        "a Date that lies ahead is believed",
        WATERMARKS,
        (("limit = min(now, sent_at)", "limit = sent_at"),),
        TESTS_OF_WALKS,
        "no_clock",
    ),
    Bug(
        "a stored watermark in the future is believed",
        WATERMARKS,
        (("CLOCK_DOUBT = timedelta(minutes=15)", "CLOCK_DOUBT = timedelta(days=36_500)"),),
        TESTS_OF_WALKS,
        "lies_in_the_future",
    ),
    Bug(
        "a read that was broken off goes on from the greatest stamp",
        WINDOW_WALK,
        (("replace(window, cursor=page.next_cursor)", GREATEST_STAMP),),
        TESTS_OF_WALKS,
        "trusts_no_stamp",
    ),
    Bug(
        "a list without a cursor key is at its end",
        "pipedrive_pipeline/connectors/pipedrive/envelope.py",
        ((NO_CURSOR_KEY, "        return None\n"),),
        TESTS_OF_WALKS,
        "whether_it_goes_on",
    ),
    Bug(
        "a list may end before its newest record",
        WALKS,
        (("before is None or page_counts[part] > 1", "False"),),
        TESTS_OF_WALKS,
        "ends_too_early",
    ),
    Bug(
        "the border of two windows belongs to neither",
        WINDOWS,
        (("else records[:at]", "else records[: max(at - 1, 0)]"),),
        TESTS_OF_WINDOWS,
    ),
    Bug(
        "the border of two windows belongs to both",
        WINDOWS,
        (("else records[:at]", "else records"),),
        TESTS_OF_WINDOWS,
        "each_record_once",
    ),
    Bug(
        "the end of a list is read before its other windows",
        WINDOWS,
        (("return window.is_read and read.later is None and not", "return False and not"),),
        TESTS_OF_WINDOWS,
        "after_its_worker_was_there",
    ),
    Bug(
        "a window is read whole where the list ends before the next one",
        WINDOW_WALK,
        (("        if behind:\n", "        if False:\n"),),
        TESTS_OF_WINDOWS,
        "ends_too_early",
    ),
    Bug(
        "pages of one second lead no further",
        WINDOW_WALK,
        (("return len(self.versions) > count_before", "return False"),),
        TESTS_OF_WALKS,
        "ties_in_any_order",
    ),
    Bug(
        "a read that goes on has looked for all deletions since it went on",
        "pipedrive_pipeline/ingest/reading.py",
        (("before, began_at=began_at, resumed", "before, began_at=self.now(), resumed"),),
        f"{TESTS}/scenarios/test_walks.py",
        "was_broken_off",
    ),
    Bug(
        "a page that leaves records out is complete",
        RECONCILIATION,
        (("UNLISTED_MAX = 10 ", "UNLISTED_MAX = 10**9 "),),
        TESTS_OF_DELETIONS,
        "leaves_many_out",
    ),
    Bug(
        "the cursor is committed before its rows",
        "pipedrive_pipeline/ingest/reading.py",
        (("        loaded = self.raw.load(", CURSOR_FIRST),),
        f"{TESTS}/scenarios/test_full_then_incremental.py",
    ),
    Bug(
        "an answer of 5xx is the end of a list",
        WINDOW_WALK,
        (
            (NEXT_PAGE, TROUBLE_ENDS),
            ("import SourceBroke\n", "import SourceBroke, SourceUnavailable\n"),
        ),
        TESTS_OF_WALKS,
    ),
    Bug(
        "two runs of a tenant at once",
        "pipedrive_pipeline/warehouse/locks.py",
        (('"share" if is_shared else "exclusive"', '"share"'),),
        f"{TESTS}/sync/test_lock.py",
        "refused_at_once",
    ),
    Bug(
        "another company's rows are written by a run that woke up late",
        "pipedrive_pipeline/sync/runs/lock.py",
        (("    fences.end_all(connection, scope.tenant.slug)\n", ""),),
        f"{TESTS}/scenarios/test_fencing.py",
        "looked_at_its_lock_before and another_company",
    ),
    Bug(
        "a disconnect leaves a late run its right to write",
        "pipedrive_pipeline/vault/disconnect.py",
        (("        fences.end_all(transaction, scope.tenant.slug)\n", ""),),
        f"{TESTS}/scenarios/test_fencing.py",
        "looked_at_its_lock_before and end_the_connection",
    ),
    Bug(
        "a load that is not complete is pending no more after a build beside it",
        "pipedrive_pipeline/marts/build.py",
        (("    if is_read_running and is_there(", "    if False and is_there("),),
        f"{TESTS}/scenarios/test_fencing.py",
        "build_goes_on",
    ),
    Bug(
        "a build of everything sees what a load commits meanwhile",
        "pipedrive_pipeline/marts/build.py",
        ((", is_held=is_raw_held", ""),),
        f"{TESTS}/scenarios/test_loads_amid_builds.py",
    ),
    Bug(
        "a run that woke up late goes on with its load",
        "pipedrive_pipeline/ingest/dlt_internals/fenced_client.py",
        (
            (
                "            if self.fence:\n                with self.native_connection.cursor()",
                "            if False:\n                with self.native_connection.cursor()",
            ),
        ),
        f"{TESTS}/scenarios/test_fencing.py",
        "(amid_a_load and (45 or 52 or 60 or 66 or 70))",
    ),
    Bug(
        "an empty page in the middle is believed",
        WINDOW_WALK,
        (("return not self.empty_count and not (", "return True or not ("),),
        TESTS_OF_WALKS,
    ),
    Bug(
        "any number of rows may be gone at once",
        RECONCILIATION,
        (("GUARD_SHARE = 0.10", "GUARD_SHARE = 1.10"),),
        TESTS_OF_DELETIONS,
        "too_many",
    ),
    Bug(
        "an empty answer empties a table",
        RECONCILIATION,
        (("is_list_empty=not compared.seen", "is_list_empty=False"),),
        f"{TESTS}/scenarios/test_faults.py",
        "suddenly_empty",
    ),
    Bug(
        "what a list leaves out is gone, whatever a look at it says",
        RECONCILIATION,
        ((' if why != "live"]', "]"),),
        TESTS_OF_DELETIONS,
        "an_answer_to_ids_that_breaks_off",
    ),
    Bug(
        "the working directory is kept between runs",
        PACKAGES,
        (
            ("        shutil.rmtree(self._working_directory, ignore_errors=True)\n", ""),
            ("mkdir(parents=True)", "mkdir(parents=True, exist_ok=True)"),
        ),
        TESTS_OF_RAW,
    ),
    Bug(
        "rows are appended",
        PACKAGES,
        (('"disposition": "merge",', '"disposition": "append",'),),
        TESTS_OF_RAW,
    ),
    Bug(
        "what comes twice in a first load is appended twice",
        RAW,
        (("self._found_empty[name] and not found.count", "self._found_empty[name]"),),
        f"{TESTS}/ingest/test_first_loads.py",
    ),
    Bug(
        "what a lost commit left is loaded beside itself",
        "pipedrive_pipeline/ingest/dlt_internals/load_jobs.py",
        (("{LOAD_ID} = %s", "{LOAD_ID} = %s and false"),),
        f"{TESTS}/ingest/test_first_loads.py",
    ),
    Bug(
        "a page that was read ahead replaces a record that was read again",
        RAW,
        (("self._loaded.without_older(batch.entity, batch.table)", "batch.table"),),
        TESTS_OF_RAW,
        "later_request or overlapping",
    ),
    Bug(
        "a record without a key overwrites another one on the list",
        "pipedrive_pipeline/ingest/rejections.py",
        (('f"{digest}/{self._occurrences[entity.name, digest]}"', '"/1"'),),
        f"{TESTS}/ingest/test_rejections.py",
        "without_a_usable_key",
    ),
    Bug(
        "a repaired value stays on the list",
        "pipedrive_pipeline/ingest/rejections.py",
        (("        connection.execute(_STRIKE_FITTING, whose | columns)\n", ""),),
        f"{TESTS}/ingest/test_rejections.py",
        "struck_off_when",
    ),
    Bug(
        "the marts are not told of a load",
        PACKAGES,
        (("                announce(load_id)\n", ""),),
        TESTS_OF_RAW,
    ),
    Bug(
        "an erased person is loaded again",
        RAW,
        (("self._erased.withhold(batch) for batch", "list[str]() for batch"),),
        f"{TESTS}/scenarios/test_erasure.py",
        "an_erased_person",
    ),
    Bug(
        "an empty text becomes null on its way",
        "pipedrive_pipeline/ingest/dlt_internals/load_jobs.py",
        (("({COPY_OPTIONS})", "({COPY_OPTIONS}, force_null ({columns}))"),),
        f"{TESTS}/scenarios/test_raw_equals_source.py",
        "empty_text",
    ),
    Bug(
        "a record is linked only when it is built itself",
        "pipedrive_pipeline/marts/writing.py",
        (("        and row ({correct}) is distinct from row ({target_columns})\n", "and false\n"),),
        TESTS_OF_COMPARISON,
        "arrives_later",
    ),
    Bug(
        "a sweep builds only what changed",
        "pipedrive_pipeline/marts/build.py",
        (("is_whole=is_whole or is_verifying,", "is_whole=False,"),),
        TESTS_OF_COMPARISON,
        "emptied",
    ),
    Bug(
        "rows that raw does not have stay live",
        "pipedrive_pipeline/marts/build.py",
        (("                if is_whole:\n", "                if False:\n"),),
        TESTS_OF_COMPARISON,
        "marked_until_it_arrives",
    ),
    Bug(
        "a pause of a month is believed",
        "pipedrive_pipeline/connectors/http.py",
        (("seconds is not None and seconds > DAY_SECONDS_MAX:", "False:"),),
        TESTS_OF_HTTP,
    ),
    Bug(
        "a number in a header may have any size",
        "pipedrive_pipeline/connectors/answers.py",
        (("value is not None and at_least <= value <= at_most:", "value is not None:"),),
        TESTS_OF_HTTP,
    ),
    Bug(
        "blank text is a value",
        "sql/functions/standard_values.sql",
        (("'\\ufeff\\uffa0]' then", "'\\ufeff\\uffa0]' or value <> '' then"),),
        f"{TESTS}/marts/test_mapping.py",
        "blank_text_fills_no_column",
    ),
    Bug(
        "a record that was deleted at no time stays live",
        "pipedrive_pipeline/marts/writing.py",
        (("pipeline.loaded_at(record._dlt_load_id)", "null::timestamptz"),),
        f"{TESTS}/marts/test_standard_values.py",
        "deleted_at_no_time",
    ),
    Bug(
        "two databases share a folder of working files",
        "pipedrive_pipeline/scope.py",
        (('"scratch" / database / self.system', '"scratch" / self.system'),),
        f"{TESTS}/sync/test_scratch.py",
        "two_databases_under_one_home",
    ),
    Bug(
        "a signal is deleted before its marts are committed",
        "pipedrive_pipeline/sync/signals/serving.py",
        ((SERVED_LAST, SERVED_FIRST),),
        f"{TESTS}/scenarios/test_signals.py",
        "a_signal_stays_until_its_marts",
    ),
    Bug(
        "records that are read again are in raw, and the marts are not told",
        "pipedrive_pipeline/ingest/few_rows.py",
        (("[tenant.slug, self.scope.system, [load_id]]", "[tenant.slug, self.scope.system, []]"),),
        f"{TESTS}/scenarios/test_signals.py",
        "in_crm_before_the_walk or stays_until_its_marts",
    ),
    Bug(
        "a record whose create was not answered is never found",
        "pipedrive_pipeline/sync/writes/sending.py",
        (("for remote_id in found:", "for remote_id in found[:0]:"),),
        f"{TESTS}/scenarios/test_writes_at_random.py",
        "200",
    ),
    Bug(
        "a write does not look whether its record moved",
        "pipedrive_pipeline/sync/writes/engine.py",
        (("if entry.expected_version not in {", "if False and entry.expected_version in {"),),
        f"{TESTS}/scenarios/test_writes_at_random.py",
        "200",
    ),
    Bug(
        "a webhook is made again whenever an answer is lost",
        "pipedrive_pipeline/connectors/http.py",
        (("not (call.is_repeatable or again.is_undone)", "False"),),
        f"{TESTS}/connectors/test_webhooks.py",
        "made_once",
    ),
    Bug(
        "two events of one user pass for one",
        "pipedrive_pipeline/connectors/pipedrive/notices.py",
        (('_text(meta, "entity") != "user" and ', ""),),
        f"{TESTS}/connectors/test_notices.py",
        "user_of_an_event",
    ),
    Bug(
        "an event of another version is read as if it were known",
        "pipedrive_pipeline/connectors/pipedrive/notices.py",
        ((' or _text(meta, "version") != VERSION', ""),),
        f"{TESTS}/connectors/test_notices.py",
        "unknown_kind",
    ),
    Bug(
        "an event of a deletion is believed whatever was read since",
        "pipedrive_pipeline/ingest/webhook_events.py",
        (("where {is_live}\n", "where false and {is_live}\n"),),
        TESTS_OF_WEBHOOKS,
        "older_than_what_was_read",
    ),
    Bug(
        "a page that was read ahead undoes a deletion that an event stated",
        "pipedrive_pipeline/ingest/deletions.py",
        (("if sent > self.number:", "if sent != self.number:"),),
        f"{TESTS}/ingest/test_stated_deletions.py",
    ),
    Bug(
        "an event that is delivered twice is stored twice",
        "pipedrive_pipeline/sync/signals/store.py",
        (
            ('"event_key": clean_text(notice.key)', '"event_key": str(uuid4())'),
            ("from uuid import UUID", "from uuid import UUID, uuid4"),
        ),
        f"{TESTS}/sync/test_signals.py",
    ),
    Bug(
        "a move whose event comes late is a visit at the end",
        "pipedrive_pipeline/ingest/history.py",
        (("        and history.{stamp} > first_event.{stamp}\n", "        and false\n"),),
        TESTS_OF_WEBHOOKS,
        "two_moves_within_a_minute",
    ),
)


def is_caught(bug: Bug, tree: Path) -> bool:
    """Whether the suite fails with this bug in the tree, which is as before afterwards."""
    former = bug.plant(tree)
    try:
        code, output = outcome(tree, [bug])
    finally:
        (tree / bug.path).write_text(former)
    if code not in {0, TESTS_FAILED}:
        print(output)  # noqa: T201 - a command's answer
    return code == TESTS_FAILED


def outcome(tree: Path, bugs: Iterable[Bug]) -> tuple[int, str]:
    """Pytest's exit code and words for the tests of these bugs."""
    chosen = " or ".join(dict.fromkeys(bug.chosen for bug in bugs if bug.chosen))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *dict.fromkeys(bug.tests for bug in bugs),
            *(["-k", chosen] if chosen else []),
        ],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def missed(bugs: Sequence[Bug]) -> list[Bug]:
    """The bugs that the suite does not catch; says of each what became of it."""
    found: list[Bug] = []
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(PROJECT_ROOT, tree, ignore=LEFT_OUT)
        for bug in bugs:
            caught = is_caught(bug, tree)
            print(f"{'caught' if caught else 'MISSED'}: {bug.name}", flush=True)  # noqa: T201
            if not caught:
                found.append(bug)
    return found


def main(names: Sequence[str]) -> int:
    """Plants the bugs whose names hold one of these words, or all; fails if one is missed."""
    chosen = [bug for bug in BUGS if not names or any(name in bug.name for name in names)]
    return bool(missed(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
