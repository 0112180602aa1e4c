"""Who may come in, and how much one may do at once (protocol.md 2.2, 2.6)."""
