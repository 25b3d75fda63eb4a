"""The contracts that machines read, made from the messages themselves."""
