"""The doors: how state leaves the server. Each door reads frames from a position; none has a queue."""
