"""Tests of `pipedrive_pipeline.vault`, against a real Postgres and a real token endpoint."""
