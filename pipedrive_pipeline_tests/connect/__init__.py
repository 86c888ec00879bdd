"""Tests of `pipedrive_pipeline.connect`: consent as a browser, a forger and a script walk it."""
