"""What a Celery worker of ours is told; `dagster_celery.app` reads the module of this name.

Start a worker with this folder on PYTHONPATH:

    celery -A dagster_celery.app worker --queues dagster --concurrency 2

Rests on https://docs.celeryq.dev/en/stable/userguide/configuration.html (read 2026-11).
"""

import os

broker_url = os.environ["CELERY_BROKER_URL"]
result_backend = os.environ["CELERY_RESULT_URL"]

# Before the processes are forked: each run then starts with everything loaded.
imports = ("pipedrive_pipeline.definitions",)

# A run that a worker holds and has not begun waits behind a long one while another worker is idle,
# and is lost with its worker until start_timeout_seconds. A Redis broker needs hold none back;
# others give out as few as they can.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 200  # whatever a library leaks ends with the process
broker_connection_retry_on_startup = True
result_expires = 86_400  # seconds; longer than any run may last
