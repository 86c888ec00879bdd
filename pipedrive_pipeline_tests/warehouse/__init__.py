"""The warehouse's facts, against a real Postgres."""
