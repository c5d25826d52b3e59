"""The actions of several plans, brought to an end: judged, started side by side, recorded.

``judging`` asks whether a stored result can stand, and ``walking`` asks that of every action, which is all
that a reader needs. ``scheduler.Scheduler`` is the loop that also runs what cannot stand: ``room`` and
``costs`` say what goes first and what fits beside what runs, ``crew`` has the processes, ``holding`` the
locks, ``noting`` writes down what came of it, ``words`` has what to say when something fails; ``runs`` has
the values that they share.
"""
