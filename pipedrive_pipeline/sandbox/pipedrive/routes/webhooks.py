"""Webhooks are made, listed and deleted; the answers have a form of their own.

Source: https://developers.pipedrive.com/docs/api/v1/Webhooks (read 2026-11)
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pipedrive_pipeline.sandbox.kit.answers import RequestRefused, SandboxAnswer, encode
from pipedrive_pipeline.sandbox.kit.posting import is_reachable
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.kit.subscriptions import Subscription
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.world.webhook_rows import OBJECTS

Record = dict[str, Any]
PATH = "/v1/webhooks"
SCOPES = ("admin", "webhooks:full")
AT_MOST = 40  # of one app and user
NAME_CHARACTERS = 255
REACHED_SECONDS = 2.0
ACTIONS = ("create", "change", "delete", "*")
# Of these, version 2 tells and the sandbox has no records.
UNSEEN = ("deal_installment", "board", "phase", "project", "task")
KEYS = (
    "subscription_url", "event_action", "event_object", "name", "user_id", "http_auth_user",
    "http_auth_password", "version",
)  # fmt: skip


def endpoints() -> list[ApiEndpoint]:
    """Make, list, delete; a webhook cannot be changed."""
    return [
        ApiEndpoint("GET", PATH, 10, ("webhooks:read", *SCOPES), _list),
        ApiEndpoint("POST", PATH, 10, SCOPES, _create),
        ApiEndpoint("DELETE", f"{PATH}/{{id}}", 6, SCOPES, _delete),
    ]


def _list(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    own = [_row(call, each) for each in _shown(call) if _is_own(call, each)]
    return _answer(own)


def _create(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    body = call.json_object()
    problems = _problems(call, body)
    if problems:
        raise _refused(400, problems)
    mine = [each for each in call.webhooks.active() if _is_own(call, each)]
    if len(mine) >= AT_MOST:
        raise _refused(422, {"webhooks": [f"at most {AT_MOST} webhooks per user"]})
    made = call.webhooks.add(
        Subscription(
            id=0,
            url=body["subscription_url"],
            owner_id=call.caller.user_id,
            is_app=call.caller.is_app,
            user_id=body.get("user_id") or call.caller.user_id,
            user=body.get("http_auth_user"),
            password=body.get("http_auth_password"),
            added_at=call.account.clock.now(),
            facts={
                "event_action": body["event_action"],
                "event_object": body["event_object"],
                "name": body["name"],
            },
        )
    )
    return _answer(_row(call, made), 201)


def _delete(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    found = next((each for each in _shown(call) if str(each.id) == call.path["id"]), None)
    if found is None or not found.is_active:
        raise _refused(404, {"id": ["not found"]})
    if not _is_own(call, found):
        raise RequestRefused(403, {"success": False, "message": "Forbidden"})
    call.webhooks.remove(found.id, "deleted through the API")
    return SandboxAnswer(200, encode({"status": "ok", "success": True}))


def _shown(call: AdmittedCall) -> list[Subscription]:
    """The webhooks that lists show; where the options say so, those that were removed as well."""
    if call.options.lists_removed_webhooks:
        return call.webhooks.all()
    return call.webhooks.active()


def _is_own(call: AdmittedCall, webhook: Subscription) -> bool:
    caller = call.caller
    return (webhook.is_app, webhook.owner_id) == (caller.is_app, caller.user_id)


def _problems(call: AdmittedCall, body: Record) -> dict[str, list[str]]:
    """What is wrong with the body of a new webhook, by key."""
    problems = {key: ["unknown parameter"] for key in body if key not in KEYS}
    if body.get("event_action") not in ACTIONS:
        problems["event_action"] = ["invalid event action"]
    if body.get("event_object") not in (*OBJECTS.values(), *UNSEEN, "*"):
        problems["event_object"] = ["invalid event object"]
    name = body.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS:
        problems["name"] = [f"must be a text of 1 to {NAME_CHARACTERS} characters"]
    if body.get("version", "2.0") != "2.0":
        problems["version"] = ["only 2.0 is served here"]
    if body.get("user_id") not in {None, *call.account.rights}:
        problems["user_id"] = ["user not found"]
    for key in ("http_auth_user", "http_auth_password"):
        if not isinstance(body.get(key), str | None):
            problems[key] = ["must be a text"]
    if not problems and not _can_be_called(body.get("subscription_url")):
        problems["subscription_url"] = ["invalid or non-reachable URL"]
    return problems


def _can_be_called(url: Any) -> bool:
    """Whether something listens there; Pipedrive demands public https, the sandbox does not."""
    try:
        parts = urlsplit(url if isinstance(url, str) and url.isprintable() else "")
        host = parts.hostname or ""
    except ValueError:
        return False
    is_odd = parts.username is not None or host.endswith("pipedrive.com") or parts.fragment
    return parts.scheme in {"http", "https"} and not is_odd and is_reachable(url, REACHED_SECONDS)


def _row(call: AdmittedCall, webhook: Subscription) -> Record:
    return {
        "id": webhook.id,
        "company_id": call.account.company_id,
        "owner_id": webhook.owner_id,
        "user_id": webhook.user_id,
        **webhook.facts,
        "subscription_url": webhook.url,
        "version": "2.0",
        "is_active": int(webhook.is_active),
        "add_time": _time(webhook.added_at),
        "remove_time": _time(webhook.removed_at),
        "type": "application" if webhook.is_app else "general",
        "http_auth_user": webhook.user,
        "http_auth_password": webhook.password,
        "remove_reason": webhook.remove_reason,
        "last_delivery_time": _time(webhook.last_attempt_at),
        "last_http_status": webhook.last_status,
        "admin_id": webhook.owner_id,
    }


def _time(at: Any) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _answer(data: Any, status: int = 200) -> SandboxAnswer:
    return SandboxAnswer(status, encode({"status": "ok", "success": True, "data": data}))


def _refused(status: int, errors: Record) -> RequestRefused:
    return RequestRefused(status, {"status": "error", "success": False, "errors": errors})
