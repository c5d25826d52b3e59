"""The line that sums up a build. The fast path says it, too: nothing here may import much."""

TYPE_CHECKING = False  # see ``state.format``
if TYPE_CHECKING:
    from collections.abc import Mapping

_ORDER = ("cached", "fresh", "fetched", "built", "remote", "stale", "failed", "blocked", "skipped")


def line(
    recipes: int,
    statuses: "Mapping[str, int]",
    seconds: float | None,
    folder: str | None = None,
    wrong: int = 0,
    warnings: int = 0,
) -> str:
    """``7 recipes: 31 artifacts cached, 2 built, 1 failed, in 12.3 s: build``; of one recipe its artifacts.

    ``statuses`` counts artifacts; ``seconds`` is None if there was nothing to do, and negative if it does
    not matter. ``folder`` is where the files are, if there are some; ``wrong`` how many recipes did not
    come as far as having any; ``warnings`` how many earlier builds told that are true still.
    """
    words = [f"{statuses[s]} {s}" for s in _ORDER if statuses.get(s)]
    if words:
        count, _, status = words[0].partition(" ")
        words[0] = f"{count} artifact{_s(int(count))} {status}"
    elif recipes > wrong:
        words = [f"{recipes - wrong} ok"]
    if wrong:
        words.append(f"{wrong} recipe{_s(wrong)} wrong")
    if seconds is None:
        words.append("nothing to do")
    elif seconds >= 0:
        words.append(f"in {seconds:.1f} s")
    if warnings:
        words.append(f"{warnings} warning{_s(warnings)} (status -v)")
    front = f"{recipes} recipes: " if recipes != 1 else ""
    return front + ", ".join(words) + (f": {folder}" if folder is not None else "")


def _s(count: int) -> str:
    """As ``phrases.plural`` says it, whose module imports too much for the fast path."""
    return "s" if count != 1 else ""
