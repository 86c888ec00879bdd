"""Events out: their delivery to receivers of every kind."""
