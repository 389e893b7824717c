"""The confinement of processes in which models run: what the kernel lets them reach, and how much they may take."""
