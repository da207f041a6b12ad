"""Time, work and memory of a detector; only tools/ imports it."""
