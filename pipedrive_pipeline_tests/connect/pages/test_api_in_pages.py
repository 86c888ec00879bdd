"""What a program may do by the API, a person can do on a page; else the test says why not."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.connect.pages.routes import ROUTERS
from pipedrive_pipeline_tests.connect.browser import ConnectSite

API = "/api/integrations/{system}"
PAGE = "/integrations/{system}"
# Each route of the API -> the page, or the form, that is its place.
PLACES = {
    "GET /api/integrations": "GET /",
    f"POST {API}/test": f"POST {PAGE}/test",
    f"POST {API}/connect-link": "POST /keys/links",
    f"GET {API}/connect-links": "GET /keys",
    f"DELETE {API}/connect-links/{{link_id}}": "POST /keys/links/{link_id}/withdraw",
    f"GET {API}/auth": f"GET {PAGE}/connect",
    f"POST {API}/confirm": f"GET {PAGE}/confirm",
    f"DELETE {API}/disconnect": f"POST {PAGE}/disconnect",
    f"GET {API}/status": f"GET {PAGE}",
    f"POST {API}/sync": f"POST {PAGE}/sync",
    f"GET {API}/sync/history": f"GET {PAGE}/history",
    f"GET {API}/sync/history/{{run_id}}": f"GET {PAGE}/history/{{run_id}}",
    f"POST {API}/sync/history/{{run_id}}/cancel": f"POST {PAGE}/runs/{{run_id}}/cancel",
    f"GET {API}/sync/trends": f"GET {PAGE}",
    f"GET {API}/sync-config": f"GET {PAGE}/settings",
    f"PUT {API}/sync-config": f"POST {PAGE}/settings",
    f"GET {API}/sync-config/next": f"GET {PAGE}/settings",
    f"POST {API}/sync-config/test-alert": f"POST {PAGE}/settings/test-alert",
    f"GET {API}/deletions": f"GET {PAGE}/deletions/{{entity}}",
    f"PUT {API}/deletions/{{entity}}": f"POST {PAGE}/deletions/{{entity}}",
    f"GET {API}/rejected-values": f"GET {PAGE}/history/{{run_id}}",
    f"GET {API}/rejected-values.csv": f"GET {PAGE}/rejected-values.csv",
    f"GET {API}/fields": f"GET {PAGE}/mapping",
    f"GET {API}/fields/values": f"GET {PAGE}/mapping",
    f"GET {API}/field-mapping": f"GET {PAGE}/mapping",
    f"PUT {API}/field-mapping": f"POST {PAGE}/mapping",
    f"GET {API}/field-mapping/proposals": f"GET {PAGE}/mapping",
    f"POST {API}/field-mapping/preview": f"POST {PAGE}/mapping",
    f"GET {API}/field-mapping/versions": f"GET {PAGE}/mapping",
    f"GET {API}/field-mapping/versions/{{number}}": f"GET {PAGE}/mapping/versions/{{number}}",
    f"GET {API}/sinks": f"GET {PAGE}/sinks",
    f"GET {API}/sinks/versions": f"GET {PAGE}/sinks",
    f"PUT {API}/sinks": f"POST {PAGE}/sinks/{{sink}}",
    f"POST {API}/sinks/preview": f"POST {PAGE}/sinks/{{sink}}",
    f"POST {API}/sinks/{{sink}}/match": f"POST {PAGE}/sinks/{{sink}}/match",
    f"POST {API}/sinks/{{sink}}/confirm": f"POST {PAGE}/sinks/{{sink}}/confirm",
    f"POST {API}/sinks/{{sink}}/undo": f"POST {PAGE}/sinks/{{sink}}/undo",
    "GET /api/keys": "GET /keys",
    "POST /api/keys": "POST /keys",
    "DELETE /api/keys/{key_id}": "POST /keys/{key_id}/revoke",
    "GET /api/audit": "GET /keys",
}
# Each route without a place -> why no person needs one.
WITHOUT_PLACE = {
    "GET /healthz": "a monitor asks; a person sees the page of a database that does not answer",
    f"POST {API}/webhook/{{token}}": "the source sends it",
    f"POST {API}/credential": "a service borrows it; a person has the CRM's own pages",
    f"GET {API}/sync/requests/{{request_id}}": "a program waits with it; the page shows progress",
}
# Their records have their pages in the CRM.
OF_RECORDS = ("/api/crm/", "/api/v1/integrations/crm/")


@pytest.mark.slow
def test_every_route_of_the_api_has_its_place_in_the_pages(site: ConnectSite) -> None:
    """A route that is new needs a page, or a reason here."""
    routes = {
        f"{method.upper()} {path}"
        for path, methods in site.app.openapi()["paths"].items()
        for method in methods
        if not path.startswith(OF_RECORDS)
    }

    assert routes - PLACES.keys() - WITHOUT_PLACE.keys() == set()
    assert (PLACES.keys() | WITHOUT_PLACE.keys()) - routes == set()


def test_each_place_is_a_route_of_the_pages() -> None:
    pages = {
        f"{method} {getattr(route, 'path', '')}"
        for router in ROUTERS
        for route in router.routes
        for method in getattr(route, "methods", None) or ()
    }

    assert set(PLACES.values()) - pages == set()
