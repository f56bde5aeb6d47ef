"""The sources that download: Gaia's archive and the Galaxia mock catalogues, by TAP."""
