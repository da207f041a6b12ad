"""Detection in millions of pictures, shared out to processes by Ray Data."""
