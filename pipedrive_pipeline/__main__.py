"""`pipedrive-pipeline` and `python -m pipedrive_pipeline`: the command line."""

import gc

gc.disable()  # until a command begins; see `cli.app.importing`

from pipedrive_pipeline.cli import main  # noqa: E402 - what it imports is the first half

if __name__ == "__main__":
    main()
