"""UperNet and its auxiliary head."""
