"""A scan's life: registered, released, queued, planned, run, ended, expired."""
