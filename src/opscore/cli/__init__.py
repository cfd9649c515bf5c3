"""The opscore command."""
