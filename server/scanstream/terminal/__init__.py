"""What people see in a terminal: commands, tables, prompts, completion."""
