"""What tests of several rooms need; no tests."""
