"""Files, processes, the terminal and the machine: what every part of maekit may use."""
