"""What a run will need before anything is trained: memory, time and disk. No Lightning."""
