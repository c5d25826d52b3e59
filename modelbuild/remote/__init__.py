"""One cache for a team: what others have built and signed, behind a URL.

A build only reads (``reading``); ``cache push`` writes. What a server says is believed of nothing: names
are made here (``layout``), an entry counts by its signature (``statements``), a file by its hash
(``bucket``), and a remote that fails is one that is not there.
"""
