"""Connections and their tokens: states, encryption, and credentials for the rest of the package.

Belongs here: everything that reads or writes a token. Does not belong here: how consent is obtained
(`connect/`), HTTP (`connectors/`), or when a sync runs (`sync/`).
"""

from pipedrive_pipeline.vault.lending import lend

__all__ = ["lend"]
