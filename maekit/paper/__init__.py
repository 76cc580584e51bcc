"""The paper's tables as YAML, and which runs fill their cells. Imports no torch."""
