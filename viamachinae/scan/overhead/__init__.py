"""What the running of a scan costs beside its science: measured with tasks that do nothing."""
