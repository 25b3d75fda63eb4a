"""Does a server keep the protocol's promises, and does a client? Asked from outside, by whoever doubts it."""
