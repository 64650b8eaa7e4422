"""What keeps the processes of a program together."""

from __future__ import annotations

from pathlib import Path

from energysweep.tune.supervisor import listed_children
from tests.support.fake_tree import FakeTree


def test_children_that_the_kernel_keeps_no_list_of_are_found_by_their_parent(tmp_path: Path) -> None:
    tree = FakeTree(tmp_path)
    parent = tree.fork()
    children = [tree.fork(parent), tree.fork(parent)]
    tree.fork(children[0])
    (tmp_path / "99").mkdir()  # it has just ended
    assert sorted(listed_children(tmp_path, parent)) == children
    (tmp_path / f"{parent}/task/{parent}").mkdir(parents=True)
    (tmp_path / f"{parent}/task/{parent}/children").write_text("7 8 ")
    assert listed_children(tmp_path, parent) == [7, 8]
