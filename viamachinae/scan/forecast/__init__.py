"""What a scan will take: hours, memory and disk, before it starts."""
