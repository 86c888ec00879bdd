"""Who may ask: connection states, and tokens that are lent fresh and kept sealed.

Belongs here: everything that reads or writes a token. Does not belong here: how consent is obtained
(`connect/`), HTTP (`connectors/`), or when a sync runs (`sync/`).
"""

from pipedrive_pipeline.vault.lending import lend

__all__ = ["lend"]
