"""The other side of the wire: a client of the server, for programs."""
