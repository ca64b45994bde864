"""What AWS alone has: partitions and regions, ARNs, policies."""
