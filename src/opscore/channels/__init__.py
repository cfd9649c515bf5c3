"""How tasks reach agents: one file a channel."""
