"""The line that sums up several recipes. The short way says it, too: nothing here may import much."""

TYPE_CHECKING = False  # see ``state.format``
if TYPE_CHECKING:
    from collections.abc import Mapping

_ORDER = ("cached", "fresh", "built", "stale", "failed", "blocked", "skipped")


def line(recipes: int, statuses: "Mapping[str, int]", wrong: int, seconds: float | None) -> str:
    """``7 recipes: 31 artifacts cached, 2 built, 1 failed, in 12.3 s``.

    ``statuses`` counts artifacts; ``wrong`` the recipes that did not come as far as having any;
    ``seconds`` is None if there was nothing to do, and negative if it does not matter.
    """
    words = [f"{statuses[s]} {s}" for s in _ORDER if statuses.get(s)]
    if words:
        count, _, status = words[0].partition(" ")
        words[0] = f"{count} artifact{'s' if count != '1' else ''} {status}"
    elif recipes > wrong:
        words = [f"{recipes - wrong} ok"]
    if wrong:
        words.append(f"{wrong} recipe{'s' if wrong != 1 else ''} wrong")
    if seconds is None:
        words.append("nothing to do")
    elif seconds >= 0:
        words.append(f"in {seconds:.1f} s")
    return f"{recipes} recipes: {', '.join(words)}"
