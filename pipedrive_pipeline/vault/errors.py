"""Errors that only the vault raises. Errors that connectors raise too are in `errors.py` above."""

from __future__ import annotations

from pipedrive_pipeline.errors import PersonMustAct, SettingsError


class WrongKey(SettingsError):
    """A stored secret is sealed with a key that this process does not have. Nothing was changed."""

    code = "wrong_encryption_key"

    def __init__(self, key_ids: tuple[str, ...]) -> None:
        self.key_ids = key_ids
        super().__init__(
            f"TOKEN_ENCRYPTION_KEYS: stored tokens are sealed with key {', '.join(key_ids)}, which "
            "is not in the list; put that key back (any position). Nothing was overwritten. If the "
            "key is lost: `rotate-keys --discard`."
        )


class SecretUnreadable(PersonMustAct):
    """A sealed secret was altered, or belongs to another row or column."""

    code = "secret_unreadable"

    def __init__(self, tenant: str, what: str, reason: str, *, repair: str) -> None:
        self.tenant, self.what, self.reason = tenant, what, reason
        super().__init__(
            f"{tenant}: {what} is refused ({reason}); nothing was sent. {repair}, and look into "
            "who wrote that row."
        )


class TokenRefused(PersonMustAct):
    """The source refuses the token that a person entered."""

    code = "token_refused"

    def __init__(self, tenant: str, label: str, host: str) -> None:
        self.tenant, self.host = tenant, host
        super().__init__(
            f"{tenant}: {label} at {host} refuses this token; copy it again from the account's "
            "settings, or check that the address is the right company's. Nothing was changed."
        )


class NotLendable(PersonMustAct):
    """The connection has an API token, which never expires and which only its owner can revoke."""

    code = "not_lendable"

    def __init__(self, tenant: str, system: str) -> None:
        self.tenant, self.system = tenant, system
        super().__init__(
            f"{tenant}: {system} is connected with an API token. It never expires, so it is not "
            f"given away; `connect --tenant {tenant} --system {system}` by consent (OAuth) first."
        )


class OtherCompany(PersonMustAct):
    """The new consent is for another company than the one whose rows the tenant has."""

    code = "other_company"

    def __init__(
        self, tenant: str, system: str, *, current: str, offered: str, may_change: bool = True
    ) -> None:
        self.tenant, self.system, self.current, self.offered = tenant, system, current, offered
        advice = (
            "Confirm the change of company (`connect --other-company`, or the box on the page), or "
            "connect with the former one."
            if may_change
            else "The link allows connecting that company again and no other."
        )
        super().__init__(
            f"{tenant}: holds rows of {current}, and this {system} consent is for {offered}. "
            f"{advice} Nothing was changed."
        )


class CannotChange(PersonMustAct):
    """A change of state that `states.MAY_BECOME` does not allow."""

    code = "cannot_change_state"

    def __init__(self, tenant: str, system: str, *, current: str, wanted: str) -> None:
        self.tenant, self.system, self.current, self.wanted = tenant, system, current, wanted
        super().__init__(
            f"{tenant}: a {system} connection that is {current} cannot become {wanted}; "
            f"see `status --tenant {tenant}`."
        )


class NothingToConfirm(PersonMustAct):
    """No consent waits for confirmation: it was confirmed before, or has expired."""

    code = "nothing_to_confirm"

    def __init__(self) -> None:
        super().__init__(
            "No consent waits to be confirmed: it was confirmed before, or more than ten minutes "
            "have passed. Start the connection again."
        )
