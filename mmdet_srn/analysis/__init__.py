"""What a detector's time, multiplications and memory go to; for tools/benchmark*."""
