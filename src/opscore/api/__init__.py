"""The Litestar application: thin routes, permission declared on each."""
