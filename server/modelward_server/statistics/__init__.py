"""What statistics of every kind share. Needs nothing but numpy and scipy."""
