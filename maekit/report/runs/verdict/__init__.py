"""What a run's numbers say, in sentences: how it went, how sure its metric is, what is mistaken for what."""
