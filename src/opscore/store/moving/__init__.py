"""Moving a whole store: to another database, into a file, and back."""
