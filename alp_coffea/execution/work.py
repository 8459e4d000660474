"""Gets every chunk done and merged: hands out tasks, books outcomes, narrows down failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from coffea.processor.executor import ExecutorBase, WorkItem

from alp_coffea.errors import IncompleteRunError, InputError, MissingFileError, UnreadableFileError
from alp_coffea.execution.bisection import Bisection
from alp_coffea.execution.checkpoints import Record, Store
from alp_coffea.execution.chunks import FilePlan, Range, describe, part
from alp_coffea.execution.engines import Engine, WorkerLostError
from alp_coffea.execution.merging import Node, sample_tree
from alp_coffea.execution.progress import Status
from alp_coffea.execution.tasks import Guarded, Merge

#: A task during which so many workers died, with nothing else running, is at fault.
DEADLY: Final = 2


@dataclass(eq=False)
class _Chunk:
    """A chunk and where its outcome belongs."""

    item: WorkItem
    leaf: _Leaf
    search: Bisection | None = None
    alone: bool = False
    deaths: int = 0

    @property
    def range(self) -> Range:
        return self.item.entrystart, self.item.entrystop


@dataclass(eq=False)
class _Leaf:
    """A piece of a file while it is being processed, perhaps in several parts."""

    node: Node
    plan: FilePlan
    left: int
    records: list[Record]
    intact: bool = True


@dataclass(eq=False)
class _Merging:
    node: Node
    records: list[Record]
    alone: bool = False
    deaths: int = 0


@dataclass
class Executor(ExecutorBase):
    """What coffea's Runner runs chunks with: hands its chunk function on to :class:`Work`."""

    work: Work | None = None

    def __call__(self, items: Any, function: Any, accumulator: Any) -> tuple[Any, int]:  # noqa: ARG002
        assert self.work is not None
        self.work.process(items, function)
        # results are on disk; coffea has nothing to merge
        return {"out": {}}, 0


class Work:
    """All the work of a run, on one engine.

    ``update`` is called with ``status`` whenever something was finished.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        plans: Sequence[FilePlan],
        status: Status,
        update: Callable[[Status], None],
    ) -> None:
        self._engine = engine
        self._store = store
        self._status = status
        self._update = update
        self._queue: deque[_Chunk | _Merging] = deque()
        self._suspects: deque[_Chunk | _Merging] = deque()
        self._under_way: dict[object, _Chunk | _Merging] = {}
        self._merge = engine.prepare(Merge(store.folder, store.run))
        self._chunks: dict[WorkItem, _Leaf] = {}
        self._function: Any = None
        #: Records of each sample when everything is done, for :func:`tasks.merge`.
        self.results: dict[str, list[Record]] = {}
        self._roots: dict[Node, str] = {}

        def sample_of(plan: FilePlan) -> str:
            return plan.record.sample

        for sample, group in groupby(sorted(plans, key=sample_of), key=sample_of):
            files = list(group)
            root, leaves = sample_tree(files)
            self._roots[root] = sample
            for plan, nodes in zip(files, leaves, strict=True):
                self._begin(plan, nodes)

    def _begin(self, plan: FilePlan, nodes: Sequence[Node]) -> None:
        """Take a file's pieces: those in the store are done, the others wait for `process`."""
        for piece, node in zip(plan.pieces, nodes, strict=True):
            if isinstance(piece, WorkItem):
                self._chunks[piece] = _Leaf(node, plan, len(piece), [])
            else:
                self._count(plan, piece)
                self._status.resumed += piece.entries
                self._rise(node, [piece], intact=True)

    def process(self, items: Iterable[WorkItem], function: Callable[[WorkItem], Any]) -> None:
        """Run coffea's chunk function on chunks, and every merging that becomes possible."""
        self._function = self._engine.prepare(Guarded(function))
        self._queue.extend(_Chunk(item, self._chunks.pop(item)) for item in items)
        self.drive()

    def drive(self) -> None:
        """Work until nothing is left to do."""
        while self._queue or self._suspects or self._under_way:
            self._hand_out()
            for handle, outcome in self._engine.outcomes():
                task = self._under_way.pop(handle)
                if isinstance(outcome, Exception):
                    self._failed(task, outcome)
                elif isinstance(task, _Merging):
                    self._merged(task, outcome)
                else:
                    self._done(task, *outcome)
            self._update(self._status)

    def _hand_out(self) -> None:
        if self._suspects:
            # alone, one after the other: if a worker dies then, it is clear which one did it
            if not self._under_way:
                task = self._suspects.popleft()
                task.alone = True
                self._start(task)
            return
        capacity = self._engine.capacity
        while self._queue and len(self._under_way) < capacity:
            self._start(self._queue.popleft())

    def _start(self, task: _Chunk | _Merging) -> None:
        if isinstance(task, _Chunk):
            handle = self._engine.submit(self._function, task.item)
        else:
            handle = self._engine.submit(self._merge, (task.node.kind, task.records))
        self._under_way[handle] = task

    # --- outcomes --------------------------------------------------------------------------------

    def _done(self, task: _Chunk, record: Record, bytes_read: int, failures: int) -> None:
        if (record.start, record.stop) != task.range or record.entries != len(task.item):
            raise IncompleteRunError(f"the result of {describe(task.item)} is another chunk's")
        self._store.add(record)
        self._count(task.leaf.plan, record)
        self._status.chunks += 1
        self._status.bytes += bytes_read
        self._status.failures += failures
        task.leaf.records.append(record)
        if task.search is not None:
            task.search.book(task.range, works=True)
            self._search(task)
        self._settle(task.leaf, record.entries)

    def _count(self, plan: FilePlan, record: Record) -> None:
        plan.record.read += record.entries
        if record.selected is not None:
            plan.record.selected = (plan.record.selected or 0) + record.selected
        self._status.events += record.entries

    def _failed(self, task: _Chunk | _Merging, error: Exception) -> None:
        self._status.failures += 1
        if isinstance(error, WorkerLostError):
            self._died(task, error)
        elif isinstance(task, _Merging):
            raise error
        elif isinstance(error, UnreadableFileError):
            self._blame(task, str(error))
        elif isinstance(error, MissingFileError) or type(error) is InputError:
            # the file is gone or another one: no use in looking closer
            if task.search is not None:
                task.search.book(task.range, works=True)  # settled, that is
                self._search(task)
            self._lose(task.leaf, task.range, str(error))
        else:
            raise error

    def _died(self, task: _Chunk | _Merging, error: WorkerLostError) -> None:
        """A worker died; whether of this task is only certain if it was alone."""
        reason = f"the worker died processing them ({error})"
        if not task.alone:
            if isinstance(task, _Chunk) and self._engine.knows_culprit:
                self._blame(task, reason, deadly=True)
            else:
                self._suspects.append(task)
            return
        task.deaths += error.deaths
        searching = isinstance(task, _Chunk) and task.search is not None
        if task.deaths < (1 if searching else DEADLY):
            self._suspects.append(task)
        elif isinstance(task, _Merging):
            raise IncompleteRunError(f"merging results kills its worker: {error}") from error
        else:
            self._blame(task, reason, deadly=True)

    def _blame(self, task: _Chunk, reason: str, deadly: bool = False) -> None:
        """Find out which entries of a chunk are at fault."""
        if task.search is None:
            task.search = Bisection(*task.range)
        else:
            task.search.book(task.range, works=False)
        task.search.reason = reason
        task.search.deadly |= deadly
        self._search(task)

    def _search(self, task: _Chunk) -> None:
        search = task.search
        if search is None or search.waiting:
            return
        parts = [
            _Chunk(part(task.item, *entries), task.leaf, search) for entries in search.next_parts()
        ]
        (self._suspects if task.alone else self._queue).extendleft(parts)
        if not parts:
            self._give_up(task, search)

    def _give_up(self, task: _Chunk, search: Bisection) -> None:
        for entries in search.bad():
            if search.deadly and not task.alone:
                # others were running: what was blamed may have been a bystander. Once more, alone
                self._suspects.append(_Chunk(part(task.item, *entries), task.leaf))
            else:
                self._lose(task.leaf, entries, search.reason)

    def _lose(self, leaf: _Leaf, entries: Range, reason: str) -> None:
        leaf.plan.lost.append((entries, reason))
        leaf.intact = False
        self._status.lost += entries[1] - entries[0]
        self._settle(leaf, entries[1] - entries[0])

    def _settle(self, leaf: _Leaf, entries: int) -> None:
        leaf.left -= entries
        if leaf.left == 0:
            leaf.records.sort(key=lambda record: record.start)
            self._rise(leaf.node, leaf.records, leaf.intact)

    # --- merging ---------------------------------------------------------------------------------

    def _rise(self, node: Node, records: list[Record], intact: bool) -> None:
        """Give a node's records to its parent, and to the parent's if nothing is to be merged."""
        while node.parent is not None:
            parent = node.parent
            if not parent.take(node.slot, records, intact):
                return
            if parent.mergeable:
                # at the front: it makes room on disk
                self._queue.appendleft(_Merging(parent, parent.records))
                return
            node, records, intact = parent, parent.records, parent.intact
        self.results[self._roots[node]] = records

    def _merged(self, task: _Merging, record: Record) -> None:
        if record.entries != sum(part.entries for part in task.records):
            raise IncompleteRunError(f"merging lost entries of {record.path}")
        self._store.add(record)
        group = task.node.kind == "group"
        # whole files stay: adding another file needs them again
        self._store.drop(r for r in task.records if not group or r.segment.startswith("group"))
        task.node.parts = []
        self._rise(task.node, [record], task.node.intact)
