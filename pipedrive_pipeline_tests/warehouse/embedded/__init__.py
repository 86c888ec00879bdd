"""The embedded server, started for real by the account that runs the suite."""
