"""What code does differently while torch.export traces it."""
