"""`serve-connect`: the Connect app alone, as `up` and a service manager start it."""

from __future__ import annotations

from pipedrive_pipeline.settings import load_settings


def serve_connect() -> None:
    """Serve the Connect app on LISTEN_ADDRESS and CONNECT_PORT."""
    from pipedrive_pipeline.connect.serving import serve

    serve(load_settings())
