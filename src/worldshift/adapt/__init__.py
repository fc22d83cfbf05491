"""The point of the library: what adapts a frozen agent, one file a method, all behind `contract.py`.

`reflex` is RWM as published, `fast_reflex` ours with its `calibrate`, `finetune` the baseline, `bounds` both ends.
"""
