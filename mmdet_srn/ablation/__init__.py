"""Tables of the paper from configs: which cells, running them, reading them."""
