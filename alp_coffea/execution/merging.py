"""Which results are merged with which: a tree fixed by the input alone.

Chunks merge into ranges of their file, ranges into the file, files into groups of a sample, and
groups into the sample, a few at a time. So no process ever holds more than two results, merging
is spread over the workers, and sums come out the same, bit for bit, whoever finishes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alp_coffea.execution.checkpoints import Kind, Record
from alp_coffea.execution.chunks import FilePlan

#: How many results are merged at a time.
FAN_IN = 32


@dataclass(slots=True, eq=False)
class Node:
    """A place in the tree: waits for its children's records, in order.

    A node of kind ``chunk`` or ``file`` stands for all entries of a range. If some were lost
    (``intact`` is False) its records are not merged: a merged one would claim the whole range.
    """

    kind: Kind
    parent: Node | None = None
    slot: int = 0
    parts: list[list[Record]] = field(default_factory=list)
    waiting: int = 0
    intact: bool = True

    def take(self, slot: int, records: list[Record], intact: bool) -> bool:
        """Accept the records of a child; True when it was the last one missing."""
        self.parts[slot] = records
        self.waiting -= 1
        self.intact = self.intact and intact
        return self.waiting == 0

    @property
    def records(self) -> list[Record]:
        """Records of all children, in order."""
        return [record for part in self.parts for record in part]

    @property
    def mergeable(self) -> bool:
        """Whether a worker should merge the records; the root's are left to the submitter."""
        several = sum(map(len, self.parts)) > 1
        return several and self.parent is not None and (self.intact or self.kind == "group")


def sample_tree(plans: Sequence[FilePlan]) -> tuple[Node, list[list[Node]]]:
    """The tree of one sample: its root, and one leaf per piece of each file."""
    leaves = [[Node("chunk") for _ in plan.pieces] for plan in plans]
    files = [_join(nodes, "chunk", "file") for nodes in leaves]
    return _join(files, "group", "group"), leaves


def _join(nodes: list[Node], middle: Kind, top: Kind) -> Node:
    """Put nodes under a single one, through levels of at most ``FAN_IN`` each."""
    while len(nodes) > FAN_IN:
        groups = [nodes[i : i + FAN_IN] for i in range(0, len(nodes), FAN_IN)]
        nodes = [_parent(group, middle) for group in groups]
    return _parent(nodes, top)


def _parent(children: Sequence[Node], kind: Kind) -> Node:
    parent = Node(kind, parts=[[] for _ in children], waiting=len(children))
    for slot, child in enumerate(children):
        child.parent, child.slot = parent, slot
    return parent
