"""Who is asking, and how much they may: credentials, rights, limits. The contract: docs/protocol.md, section 8."""
