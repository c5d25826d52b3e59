"""The actions of several plans, brought to an end: judged, started side by side, recorded.

``scheduler.Scheduler`` is the loop. ``judging`` asks whether a stored result can stand, ``room`` and
``costs`` what goes first and what fits beside what runs, ``words`` what to say when something fails;
``runs`` has the values that they share.
"""
