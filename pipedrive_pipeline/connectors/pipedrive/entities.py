"""Every kind of record that is read from Pipedrive, in the order of reading.

Definitions and users come first, so that a record never arrives before its field is known.
A key that is not declared is kept by the engine in ``extra``; the counters of ``include_fields``
are not requested, since they change without ``update_time`` moving.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.connectors.pipedrive.activities import (
    ACTIVITY_ENDPOINT,
    ACTIVITY_TYPE_ENDPOINT,
    NOTE_ENDPOINT,
)
from pipedrive_pipeline.connectors.pipedrive.contacts import CONTACT_ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.deals import DEAL_ENDPOINTS, PIPELINE_ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.endpoints import Endpoint
from pipedrive_pipeline.connectors.pipedrive.field_definitions import (
    CONTACT_FIELD_ENDPOINTS,
    FIELD_ENDPOINTS,
)
from pipedrive_pipeline.connectors.pipedrive.leads import LEAD_ENDPOINT, LEAD_KIND_ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.products import PRODUCT_ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.users import USER_ENDPOINT

_ENDPOINTS = (
    *CONTACT_FIELD_ENDPOINTS,
    USER_ENDPOINT,
    *CONTACT_ENDPOINTS,
    *FIELD_ENDPOINTS,
    *PIPELINE_ENDPOINTS,
    ACTIVITY_TYPE_ENDPOINT,
    *LEAD_KIND_ENDPOINTS,
    *PRODUCT_ENDPOINTS,
    *DEAL_ENDPOINTS,
    ACTIVITY_ENDPOINT,
    NOTE_ENDPOINT,
    LEAD_ENDPOINT,
)
ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {endpoint.spec.name: endpoint for endpoint in _ENDPOINTS}
)
ENTITIES: Mapping[str, Entity] = MappingProxyType(
    {name: endpoint.spec for name, endpoint in ENDPOINTS.items()}
)
