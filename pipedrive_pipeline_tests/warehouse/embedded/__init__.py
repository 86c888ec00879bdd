"""The embedded server, started for real, as whoever runs the suite."""
