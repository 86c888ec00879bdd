"""What a browser's way through consent can end with, beside the errors of other rooms.

Belongs here: errors that only this room raises. Does not belong here: their look (`answers.py`).
"""

from __future__ import annotations

from pipedrive_pipeline.errors import PersonMustAct


class StateRefused(PersonMustAct):
    """The state is not one that this browser session began, or was used, or is too old."""

    code = "state_refused"

    def __init__(self) -> None:
        # One message for all causes: which one it was helps nobody but a forger.
        super().__init__(
            "This consent was not begun in this browser, was used before, or is older than ten "
            "minutes. Nothing was stored; start the connection again."
        )


class ConsentDeclined(PersonMustAct):
    """The person, or the source, said no."""

    code = "consent_declined"

    def __init__(self) -> None:
        super().__init__(
            "The account's owner declined, or the system did. Nothing was changed; start the "
            "connection again when you want to."
        )


class CodeRefused(PersonMustAct):
    """The code that came back is unknown to the source, was used, or came too late."""

    code = "code_refused"

    def __init__(self) -> None:
        super().__init__(
            "The system does not accept the code that the browser brought back. Nothing was "
            "stored; start the connection again."
        )


class LinkRefused(PersonMustAct):
    """The one-time link was opened before, is too old, or never existed."""

    code = "link_refused"

    def __init__(self) -> None:
        super().__init__(
            "This link was opened before, or is older than ten minutes. Ask for a new one."
        )
