"""Files of candles, read as they come."""
