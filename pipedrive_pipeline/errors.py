"""All errors that more than one package raises or catches.

Each says what was tried, for which tenant, and who must act. `cli/`, `defs/` and `connect/` decide
how an error is shown.

    PipelineError
    ├── Transient            a rerun may help; nobody need act
    │   ├── Busy             another run of this tenant holds its lock
    │   ├── Superseded       another run took over, or the tenant is not what this run read
    │   ├── Cancelled        a person ended the run
    │   ├── Killed           the run's process got a signal to end, as when its server stops
    │   ├── BudgetSpent      today's calls are used up; ``resets_at`` says when they return
    │   ├── IncompleteRead   a list ended before its newest record, or left out existing records
    │   └── SourceUnavailable, DatabaseUnavailable
    └── Permanent            a person must act
        ├── UsageError       a wrong word on the command line or in a request
        │   └── SettingsError, UnknownTenant, BadSlug, BadInput
        ├── ReauthNeeded, ScopeMissing, NotConnected, HostNotAllowed, ClientRejected
        ├── DiskFull         a disk is full: Postgres's, or that of PIPELINE_HOME
        ├── SourceBroke      the source answered against its own contract
        ├── AuditBreach      a mart would break a promise; nothing was committed
        ├── NotProven        verify found rows or values that it could neither confirm nor repair
        └── GuardTripped     too much would be marked as deleted; a person must confirm

Facts are attributes; messages never hold a token or a row.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import ClassVar, Final


class ExitCode(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BUSY = 3
    PERSON_MUST_ACT = 4
    PAUSED = 5


class PipelineError(Exception):
    """The base of all errors. ``code`` is stable and is stored in history and sent in answers."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    who_acts: ClassVar[str] = "a person"


class Transient(PipelineError):
    """A rerun may help; nobody need act."""

    who_acts = "nobody: it is tried again"


class Permanent(PipelineError):
    """A person must act; a rerun gives the same answer."""


class Busy(Transient):
    """Another run of this tenant holds its lock."""

    code = "busy"
    exit_code = ExitCode.BUSY

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"{tenant}: another sync of this tenant is running; "
            f"wait for it, or follow it with `status --tenant {tenant}`."
        )


class Superseded(Transient):
    """This run may not write any more: its rows may be older, or another company's."""

    code = "superseded"

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"{tenant}: this run may not write any more: another run has begun since, or the "
            "tenant was disconnected, moved to another company or removed. It stops and writes "
            "nothing more; nobody need act."
        )


class Cancelled(Transient):
    """A person ended this run, or the request that it would serve."""

    code = "cancelled"
    who_acts = "nobody: a person ended it"

    def __init__(self, tenant: str, who: str) -> None:
        self.tenant, self.who = tenant, who
        super().__init__(
            f"{tenant}: ended by {who}. What was committed stays; the next run goes on from there."
        )


class Killed(Transient):
    """The process of this run got a signal to end, as when its server stops."""

    code = "killed"

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"{tenant}: the run's process was told to end, as when its server stops. What was "
            "committed stays; the next run goes on from there."
        )


class BudgetSpent(Transient):
    """A tenant's request budget of today is used up. It returns by itself at ``resets_at``."""

    code = "budget_spent"
    exit_code = ExitCode.PAUSED

    def __init__(self, tenant: str, system: str, resets_at: datetime, message: str = "") -> None:
        self.tenant, self.system, self.resets_at = tenant, system, resets_at
        super().__init__(
            message
            or f"{tenant}: today's {system} request budget is spent; it returns at "
            f"{resets_at:%Y-%m-%d %H:%M} UTC. The next run goes on from what is committed."
        )


class SourceUnavailable(Transient):
    """The source gave no usable answer within the attempts and the time allowed.

    Attributes:
        is_undone: the source has certainly not done what the last attempt asked for.
    """

    code = "source_unavailable"
    is_undone: bool = False


class IncompleteRead(Transient):
    """A list of the source ended too early or left records out; its rows are kept, not trusted.

    Transient: the next run reads from the watermark before, or goes on with an unfinished read of
    everything at its last page, where the rest comes if the source gives it then.
    """

    code = "incomplete_read"


class DatabaseUnavailable(Transient):
    """Postgres cannot be reached, or ended the session."""

    code = "database_unavailable"


class UsageError(Permanent):
    """A wrong setting, slug or option. Nothing was started."""

    code = "usage"
    exit_code = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting is missing, empty or malformed. Names the setting, never its value."""

    code = "bad_setting"


class BadSlug(UsageError):
    """A tenant's name that no schema, role or lock could be made from."""

    code = "bad_slug"


class BadInput(UsageError):
    """An option, file or body that cannot be used in this form."""

    code = "bad_input"


class UnknownTenant(UsageError):
    """No tenant of this name is registered."""

    code = "unknown_tenant"

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"{tenant}: no such tenant; `tenants list` shows them, "
            f"`tenants add {tenant}` makes one."
        )


class PersonMustAct(Permanent):
    """Permanent, and a person outside the command line is needed."""

    exit_code = ExitCode.PERSON_MUST_ACT


class NotConnected(PersonMustAct):
    """The tenant has no usable connection to this system, or to any."""

    code = "not_connected"
    who_acts = "the tenant"

    def __init__(self, tenant: str, system: str | None = None) -> None:
        self.tenant, self.system = tenant, system
        where, option = (f" to {system}", f" --system {system}") if system else ("", "")
        super().__init__(
            f"{tenant}: not connected{where}; run `connect --tenant {tenant}{option}` first."
        )


class ReauthNeeded(PersonMustAct):
    """Consent is gone or the token is refused; the tenant must connect again."""

    code = "needs_reauth"
    who_acts = "the tenant"

    def __init__(self, tenant: str, system: str, reason: str) -> None:
        self.tenant, self.system, self.reason = tenant, system, reason
        super().__init__(
            f"{tenant}: {system} no longer accepts this connection ({reason}); "
            f"run `connect --tenant {tenant} --system {system}` to connect again. Synced tables "
            "are untouched."
        )


class ScopeMissing(PersonMustAct):
    """The connection works but lacks a right that this read needs."""

    code = "scope_missing"


class HostNotAllowed(PersonMustAct):
    """A token would go to a host that is not on the list; it was not sent."""

    code = "host_not_allowed"
    who_acts = "the operator"

    def __init__(self, host: str, reason: str, setting: str, allowed: tuple[str, ...]) -> None:
        self.host, self.reason, self.setting = host, reason, setting
        right = (
            f"If it is right, set {setting}={','.join((*allowed, host))}"
            if host
            else f"{setting} lists the hosts that are allowed"
        )
        super().__init__(f"host {host!r} is refused ({reason}); no token was sent. {right}.")


class ClientRejected(PersonMustAct):
    """The source refuses the app's own id or secret; no tenant's consent is in question."""

    code = "invalid_client"
    who_acts = "the operator"


class DiskFull(PersonMustAct):
    """A disk is full. What was committed before stays."""

    code = "disk_full"
    who_acts = "the operator"

    def __init__(self, whose: str) -> None:
        super().__init__(
            f"{whose}: the disk is full; nothing was half written. Make room there, then run it "
            "again: it goes on from what is committed."
        )


def full_disk(error: BaseException) -> DiskFull | None:
    """The `DiskFull` error if a full disk is among the causes of an error; else None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFull):
            return cause
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFull("PIPELINE_HOME")
        if getattr(cause, "pgcode", None) == "53100":  # of psycopg2, which dlt works with
            return DiskFull("DATABASE_URL")
        cause = cause.__cause__ or cause.__context__
    return None


def lost_database(error: BaseException) -> DatabaseUnavailable | None:
    """The connection to Postgres that an error of a library is about; None if it is about none.

    Dagster and SQLAlchemy wrap what psycopg and psycopg2 say.
    """
    cause: BaseException | None = error
    while cause is not None:
        names = {
            f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(cause).mro()
        }
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or NO_CONNECTION
        if names & OPERATIONAL and state.startswith(LOST_CONNECTION):
            return DatabaseUnavailable(
                f"Postgres refused or ended a connection ({first_line(cause)}); nothing was half "
                "written, run it again. DATABASE_URL and DAGSTER_DATABASE_URL say where it is."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def first_line(error: BaseException) -> str:
    """The first line of Postgres's message; it never contains a row (those are in `detail`)."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


OPERATIONAL: Final = {"psycopg.OperationalError", "psycopg2.OperationalError"}
NO_CONNECTION: Final = "08001"  # what a failure to connect would have, if it had a SQLSTATE
LOST_CONNECTION: Final = ("08", "53300", "57P")  # connection, too many of them, shutdown


class SourceBroke(Permanent):
    """The source answered against its own contract; going on could lose rows."""

    code = "source_broke"


class AuditBreach(Permanent):
    """A mart would break a promise. Nothing was committed; the message names rule, count, ids."""

    code = "audit_breach"
    who_acts = "a data engineer"


class NotProven(Permanent):
    """Some rows or values of the marts differ from raw and could not be repaired; others were.

    Args:
        tenant: the owner of the marts.
        reasons: the differences, each with the next step.
    """

    code = "not_proven"
    who_acts = "a data engineer"

    def __init__(self, tenant: str, reasons: Sequence[str]) -> None:
        self.tenant, self.reasons = tenant, tuple(reasons)
        super().__init__(f"{tenant}: not everything is proved: {'; '.join(self.reasons)}.")


class GuardTripped(PersonMustAct):
    """Implausibly many rows would be marked as deleted; nothing was marked.

    Attributes:
        gone: keys of the rows that the source no longer lists.
        known: rows of the entity that are not marked as deleted.
    """

    code = "guard_tripped"
    who_acts = "whoever knows the account"

    def __init__(self, message: str, *, gone: Sequence[str] = (), known: int = 0) -> None:
        self.gone, self.known = tuple(gone), known
        super().__init__(message)
