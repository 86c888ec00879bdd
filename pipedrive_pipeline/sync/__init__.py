"""One run of one tenant: its lock, its history, its reads and builds, in that order."""
