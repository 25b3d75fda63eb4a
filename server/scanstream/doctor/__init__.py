"""Looks at what a server needs, or at one that runs, and says what holds, what not, and what to do. Changes nothing."""
