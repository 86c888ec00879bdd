"""Settings of our Celery workers; `dagster_celery.app` reads the module of this name.

Start a worker with this folder on PYTHONPATH:

    celery -A dagster_celery.app worker --queues dagster --concurrency 2

Source: https://docs.celeryq.dev/en/stable/userguide/configuration.html (read 2026-11).
"""

import os

broker_url = os.environ["CELERY_BROKER_URL"]
result_backend = os.environ["CELERY_RESULT_URL"]

# Before the processes are forked: each run then starts with everything loaded.
imports = ("pipedrive_pipeline.definitions",)

# A run that a worker has taken and not started waits for a long one while another worker is idle,
# and is lost with its worker until start_timeout_seconds. With Redis nothing is prefetched; other
# brokers prefetch as few as possible.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 200  # limits memory leaks of libraries
broker_connection_retry_on_startup = True
result_expires = 86_400  # seconds; longer than any run may last
