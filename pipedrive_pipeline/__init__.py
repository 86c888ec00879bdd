"""A company's CRM, complete and readable in its own Postgres, kept up to date by Dagster."""
