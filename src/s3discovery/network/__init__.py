"""The way to another host: its names, the proxies before it, whose certificates are trusted."""
