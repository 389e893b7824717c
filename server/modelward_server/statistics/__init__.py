"""Statistics on numpy arrays, independent of the registry; they need only numpy, scipy and arch."""
