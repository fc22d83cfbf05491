"""Loops: pretrain, collect, evaluate, the protocol of online adaptation, studies and the demo.

The only room with an environment, a clock or a file in hand; what it runs lives below, in `adapt` and `agents`.
"""
