"""Offline adaptation: recordings of a target, adapting to them, dreams before and after, and the demo of it."""
