"""Why a write was not done, or not yet.

WriteError    NotSupported, WritingForbidden, WriteInvalid, RecordMoved, RecordGone, Duplicate,
              NoMatch, RefusedBySource, RecordNotWritable, NotRead, CompanyChanged, OtherAccount,
              NotWritten, WriteKeyReused
Transient     WritesBusy, OutcomeUnknown, TablesBehind
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pipedrive_pipeline.errors import Transient, UsageError

Details = Sequence[Mapping[str, str]]
"""A field each, and what is wrong with it: ``field``, ``issue``; of a conflict both values."""


class WriteError(UsageError):
    """A write that was not done; nothing was changed in the CRM."""

    status: ClassVar[int]

    def __init__(self, message: str, details: Details = ()) -> None:
        self.details = tuple(dict(each) for each in details)
        super().__init__(message)

    def facts(self) -> dict[str, Any]:
        """What is stored of it: without values of the record."""
        details = [
            {key: each[key] for key in ("field", "issue") if key in each} for each in self.details
        ]
        return {"code": self.code, "message": str(self), "details": details}


class NotSupported(WriteError):
    """The system has no such operation."""

    code = "not_supported_by_system"
    status = 405


class WritingForbidden(WriteError):
    """The tenant does not allow this write."""

    code = "writing_forbidden"
    status = 403


class WriteInvalid(WriteError):
    """Values that the source would refuse by its own field definitions; no call was made."""

    code = "invalid_fields"
    status = 422

    @classmethod
    def of(cls, details: Details) -> WriteInvalid:
        """The refusal of these fields; its message names the first."""
        first, more = details[0], len(details) - 1
        count = f" ({more + 1} fields in all)" if more else ""
        return cls(f"{first['field']} {first['issue']}{count}. No call was made.", details)


class RecordMoved(WriteError):
    """The record is not as the caller has read it."""

    code = "record_moved"
    status = 412


class RecordGone(WriteError):
    """The record does not exist at the source, or the connected user may not see it."""

    code = "record_gone"
    status = 404


class RecordNotWritable(WriteError):
    """The record exists, but is in a state in which it cannot be changed."""

    code = "record_not_writable"
    status = 409


class Duplicate(WriteError):
    """A record like this exists already, or several match."""

    code = "duplicate"
    status = 409


class NoMatch(WriteError):
    """No record matches, and none may be made."""

    code = "no_match"
    status = 404


class RefusedBySource(WriteError):
    """The source understood the call and refused it."""

    code = "refused_by_source"
    status = 422


class NotRead(WriteError):
    """The tenant does not read these records, so that a write could not be seen in its tables."""

    code = "entity_not_synced"
    status = 409


class CompanyChanged(WriteError):
    """The tenant connected another account before the write was sent."""

    code = "company_changed"
    status = 409


class OtherAccount(WriteError):
    """Credentials of a request that open another account than the tenant's connection."""

    code = "other_account"
    status = 409


class NotWritten(WriteError):
    """A call was not answered, and what it should have written is not there."""

    code = "not_written"
    status = 409


class WriteKeyReused(WriteError):
    """The same Idempotency-Key came with another request before."""

    code = "idempotency_key_reused"
    status = 422


class Refused(WriteError):
    """A refusal that was stored, for a request that comes again."""

    def __init__(self, status: int, facts: Mapping[str, Any]) -> None:
        self.code = str(facts["code"])  # type: ignore[misc]
        self.status = status  # type: ignore[misc]
        super().__init__(str(facts["message"]), facts.get("details") or ())


class WritesBusy(Transient):
    """Another write of this tenant takes long."""

    code = "busy"

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"{tenant}: other writes of this tenant are in progress; send it again in a moment. "
            "Nothing was changed."
        )


class OutcomeUnknown(Transient):
    """The source did not answer a call that may have been carried out."""

    code = "outcome_unknown"

    def __init__(self, tenant: str, reason: str) -> None:
        super().__init__(
            f"{tenant}: the CRM did not say whether it wrote the record ({reason}). Send the same "
            "request with the same Idempotency-Key again: it is looked up first and never written "
            "twice."
        )


class TablesBehind(Transient):
    """The source has the write; our tables do not show it yet."""

    code = "tables_behind"

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"{tenant}: the CRM has the write, but another run has not yet brought it into the "
            "tables; it will within a minute."
        )
