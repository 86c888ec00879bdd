"""Page → raw row: the dlt pipeline of one tenant, and the loop that feeds it.

Belongs here: columns, loads, cursors, marks of deletion. Does not belong here: HTTP
(`connectors/`), history and locks (`sync/`), marts.
"""

from pipedrive_pipeline.ingest.entry import refresh
from pipedrive_pipeline.ingest.outcome import Refreshed

__all__ = ["Refreshed", "refresh"]
