"""Settings of one sandbox: plan, credentials, and a switch for each point that no source confirms.

The defaults are the choices of ``docs/sandbox.md``; each switch is listed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipedrive_pipeline.sandbox.kit.options import ServerOptions

SYSTEM = "pipedrive"
Plan = Literal["lite", "growth", "premium", "ultimate"]

ALL_SCOPES = (
    "base", "contacts:full", "users:read", "recents:read", "search:read", "admin",
    "contact-fields:full", "deals:full", "activities:full", "products:full", "leads:full",
    "deal-fields:full", "product-fields:full",
)  # fmt: skip


@dataclass(frozen=True)
class Options(ServerOptions):
    """Settings of one sandbox."""

    api_token: str = "5a4db0c0ffee5a4db0c0ffee5a4db0c0ffee5a4d"  # noqa: S105 (opens only this)
    scopes: tuple[str, ...] = ALL_SCOPES  # of the app; the user grants all of them or none
    plan: Plan = "ultimate"
    seats: int = 10
    top_up_tokens: int = 0  # bought on top of the daily budget
    has_limits: bool = True  # False: nothing is refused for its rate or price
    access_token_seconds: int = 3_599  # as in the vendor's own example

    # Points that no source confirms, each with its default.
    burst_retry_after: bool = False  # add Retry-After to a burst 429
    budget_zone: str = "UTC"  # whose midnight resets the daily budget
    cursor_seconds: float | None = None  # lifetime of a cursor; None: unlimited
    page_rows: int = 500  # maximum of rows in a page, also if `limit` is larger
    clamps_limit: bool = False  # a limit over the maximum counts as the maximum
    shows_deleted_by_id: bool = True  # GET by id of a deleted record: 200, else 404
    forbids_invisible_by_id: bool = True  # GET by id of an invisible record: 403, else 404
    ignores_unknown_parameters: bool = False
    takes_token_in_query: bool = False
    charges_refused: bool = False  # whether 4xx other than 404 cost tokens, too
    has_v1_lists: bool = False  # v1 lists of persons and organizations answer instead of 410
    built_in_option_ids: Literal["text", "number"] = "text"
    merge_touches_children: bool = False
    conversion_polls: int = 1  # how often a conversion says `running` before it is `completed`
    lists_removed_webhooks: bool = False  # with `is_active` 0 and a reason; else not at all

    webhook_threads: int = 4  # that send events
    webhook_timeout_seconds: float = 10.0  # of real time, for each attempt
