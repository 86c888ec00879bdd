"""Registers the ledger where it is imported, as a module that `SYSTEM_MODULES` names."""

from pipedrive_pipeline.connectors.registry import register
from pipedrive_pipeline_tests.connectors.ledger import LEDGER

register(LEDGER)
