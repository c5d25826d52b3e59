"""What a change between two git revisions means for the recipes: for people who review it.

``reviewing.review`` is the whole of it, of what is ``asking``. ``versions`` are the recipes in the two
revisions, ``mentioning`` finds the recipes that other files belong to,
``pairing`` which two are one recipe. Then two recipes are compared: ``differences`` in their own
words, ``effects`` in what will rebuild, ``costs`` in seconds, ``risks`` in what a reviewer wants to be
told, ``locks`` in what their lock files say. ``values`` is the result; ``plain`` and ``markdown`` are
its text.

A change may come from anybody: nothing of it is run or followed out of the repository, and its size
and the time for it are bounded.
"""
