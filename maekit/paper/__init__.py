"""The paper's tables as data, and runs in their cells. Standard library and YAML only: nothing here waits for torch."""
