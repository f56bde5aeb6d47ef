"""The mock sky beside other skies: simulated ones with every column, real ones by their motions."""
