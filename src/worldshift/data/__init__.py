"""Data that learning reads: the replay of finished episodes."""
