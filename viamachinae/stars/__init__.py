"""Where the stars come from, and which of them are searched."""
