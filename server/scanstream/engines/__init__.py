"""Adapters of the store port: where logs really live."""
