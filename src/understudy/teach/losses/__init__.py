"""One loss per file. Each is a function of tensors that gives the mean over the batch."""
