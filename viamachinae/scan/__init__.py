"""The survey: stages and their tasks, the store, the runners, progress."""
