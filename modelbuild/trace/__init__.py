"""What a run read by itself, as facts: a name and the value that it had.

``recording`` watches a run and gives facts; ``facts`` says what they are now, without running
anything. Their names mean the same in another checkout.
"""

# Goes up when more is noted than before: a result that was stored without it would be taken for fresh.
VERSION = 5
