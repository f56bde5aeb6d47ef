"""The source "files": tables of stars in any common format."""
