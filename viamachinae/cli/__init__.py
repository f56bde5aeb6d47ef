"""The commands: each parses, calls one driver, and prints."""
