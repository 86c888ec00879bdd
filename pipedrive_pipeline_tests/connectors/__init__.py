"""Tests of `pipedrive_pipeline.connectors`, against real HTTP servers on loopback ports."""
