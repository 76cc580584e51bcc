"""Models as files that other programs run: ONNX and torch.export, checked against the model they were made from."""
