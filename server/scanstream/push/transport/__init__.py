"""The transports below the doors: uvicorn's, within bounds."""
