"""From scored stars to stream candidates: regions, lines, fragments, candidates, members, tracks."""
