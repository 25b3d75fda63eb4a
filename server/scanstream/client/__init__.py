"""The other side of the wire: a Python client, and what a terminal shows of it."""
