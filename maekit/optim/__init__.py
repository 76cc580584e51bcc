"""Layer-decayed parameter groups, schedules and optimizers. No Lightning here."""
