"""The source "mock": a seeded Milky Way with injected streams."""
