"""Files go in; batches of token ids with the targets of every task come out."""
