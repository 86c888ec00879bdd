"""What is true of the project, one sentence a test."""
