"""The list of systems. A new system is one line here and one package next to `pipedrive/`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipedrive_pipeline.connectors.contract import Connector
from pipedrive_pipeline.connectors.pipedrive.connector import PipedriveConnector
from pipedrive_pipeline.errors import UsageError

_CONNECTORS: tuple[Connector, ...] = (PipedriveConnector(),)

DEFAULT_SYSTEM = _CONNECTORS[0].key  # where nobody says which
SYSTEMS: Mapping[str, Connector] = MappingProxyType({system.key: system for system in _CONNECTORS})


def connector(system: str) -> Connector:
    """The connector of a system.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        return SYSTEMS[system]
    except KeyError:
        known = ", ".join(sorted(SYSTEMS))
        raise UsageError(f"no system is called {system[:64]!r}; known: {known}.") from None
