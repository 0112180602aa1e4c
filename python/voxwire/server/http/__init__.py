"""The HTTP routes beside the WebSocket (protocol.md 11)."""
