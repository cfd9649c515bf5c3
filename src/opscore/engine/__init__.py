"""The imperative shell: write path, dispatch, sweeping, and the verbs that people call."""
