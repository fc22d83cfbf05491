"""Loops: training before anything is wrong, online adaptation, offline adaptation; each has a room of its own.

What they share lies here: episodes and noise, agents at work and how good they are, the pairs. The only rooms with an
environment, a clock or a file in hand; what they run lives below, in `adapt` and `agents`.
"""
