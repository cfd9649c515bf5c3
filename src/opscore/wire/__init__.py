"""The HTTP and WebSocket contract as msgspec structs."""
