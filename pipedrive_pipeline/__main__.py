"""`python -m pipedrive_pipeline` is the command line."""

from pipedrive_pipeline.cli import main

main()
