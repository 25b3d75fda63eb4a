"""A server that plays a script, to judge clients by: it tells one scan, and does on purpose what networks do."""
