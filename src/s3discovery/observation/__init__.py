"""What there is to see of a node and its cluster: one moment of it, what is wrong, what changed."""
