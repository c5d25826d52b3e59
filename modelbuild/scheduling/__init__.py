"""The actions of several plans, brought to an end: judged, started side by side, recorded.

``scheduler.Scheduler`` is the loop. ``judging`` asks whether a stored result can stand, ``costs``
what fits into memory and what goes first, ``crashes`` what to say of a child that died; ``runs``
has the values that they share.
"""
