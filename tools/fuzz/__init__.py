"""What `make fuzz` does: random and damaged requests, messages and templates, each from a seed."""
