"""A whole cluster on one machine, from what pip installs: `make cluster`, and what tests/cluster/ harms."""
