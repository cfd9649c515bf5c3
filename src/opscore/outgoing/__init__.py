"""Requests to addresses that users give: agents' endpoints and callbacks. Nothing else calls out."""
