"""The facts of sinks, against an app's schema of our own making."""
