"""Batch systems: the scripts of slurm/ made ready for a scan, and handed to Slurm."""
