"""The marts' facts, against a real Postgres with raw tables made by hand."""
