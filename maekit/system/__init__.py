"""Files, processes, the terminal and the hardware: helpers that every other package may use."""
