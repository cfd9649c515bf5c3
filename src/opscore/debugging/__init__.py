"""What a journal tells of time and cost: traces, critical paths, usage. Pure, like the core."""
