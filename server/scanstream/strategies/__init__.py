"""What to look for: a panel in, signals out. Pure: no input or output, no clock."""
