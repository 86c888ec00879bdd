"""What a CRM says: HTTP in, pages of records out. No database, no dlt, no Dagster."""
