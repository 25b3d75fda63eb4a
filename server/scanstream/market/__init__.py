"""Where prices come from: one port, one file a source."""
