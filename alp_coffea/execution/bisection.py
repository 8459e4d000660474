"""Finding which entries of a failing chunk are to blame."""

from __future__ import annotations

from alp_coffea.execution.chunks import Range

#: Halvings in which every failing part is cut; later only those next to a part that works.
_COARSE = 4


class Bisection:
    """Halves a failing chunk again and again; the parts that work are kept.

    Parts inside a long stretch of bad entries are not cut down to single ones, which would take
    as many tasks as entries: only the edges of the stretch are followed.

    >>> search = Bisection(0, 8)
    >>> while parts := search.next_parts():
    ...     for start, stop in parts:
    ...         search.book((start, stop), works=not start <= 5 < stop)
    >>> search.bad()
    [(5, 6)]
    """

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._good: set[Range] = set()
        self._bad: dict[Range, int] = {(start, stop): 0}  # with the number of halvings
        self._trying: dict[Range, int] = {}
        #: Why a part failed, the latest.
        self.reason = ""
        #: Whether parts failed by killing their worker.
        self.deadly = False

    @property
    def waiting(self) -> bool:
        """Whether parts are still being tried."""
        return bool(self._trying)

    def next_parts(self) -> list[Range]:
        """Parts to try now, all of which must be booked; none when the search is over."""
        # what lies outside the chunk works, as far as this search is concerned
        starts = {self._stop, *(start for start, _ in self._good)}
        stops = {self._start, *(stop for _, stop in self._good)}
        for part, depth in list(self._bad.items()):
            start, stop = part
            edge = stop in starts or start in stops
            if stop - start > 1 and (depth < _COARSE or edge):
                middle = (start + stop) // 2
                del self._bad[part]
                self._trying |= {(start, middle): depth + 1, (middle, stop): depth + 1}
        return list(self._trying)

    def book(self, part: Range, works: bool) -> None:
        """Say whether a part could be processed."""
        depth = self._trying.pop(part)
        if works:
            self._good.add(part)
        else:
            self._bad[part] = depth

    def bad(self) -> list[Range]:
        """Bad entries, adjacent parts joined."""
        joined: list[Range] = []
        for start, stop in sorted(self._bad):
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((start, stop))
        return joined
