"""From blank nodes to one cluster: who starts it, who joins whom, and who is gone for good."""
