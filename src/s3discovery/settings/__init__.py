"""Settings: what they are, what kinds of values they have, and where they are written."""
