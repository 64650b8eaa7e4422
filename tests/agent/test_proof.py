"""Who speaks over TCP, by files that look like a host's /proc; test_network.py asks a real kernel."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.processes import Root
from energysweep.agent.proof import Proof
from energysweep.agent.protocol import Claim
from energysweep.core.errors import LeaseRefused
from tests.support.fake_proc import write_proc

# How the kernel writes addresses on a little-endian machine; taken from real tables.
V4 = {"10.231.0.2": "0200E70A", "127.0.0.1": "0100007F"}
V6 = {"fd00::2": "000000FD000000000000000002000000", "::1": "00000000000000000000000001000000"}
MAPPED = {"10.231.0.2": "0000000000000000FFFF00000200E70A"}
LISTENING, ESTABLISHED = "0A", "01"


@dataclass(frozen=True)
class Speaker:
    """One process as its host sees it; ``inner`` is its pid in its own namespace.

    Attributes:
        sockets: lines of its network namespace's tables: file, local address, state, inode.
        holds: inodes of the sockets that it has open; None: the agent may not see.
    """

    pid: int
    inner: int
    started: int
    sockets: tuple[tuple[str, str, str, int], ...] = ()
    holds: tuple[int, ...] | None = ()
    name: str = "python"

    @property
    def root(self) -> Root:
        return Root(self.pid, self.started)

    @property
    def claim(self) -> Claim:
        return Claim(pid=self.inner, started=self.started)

    def write(self, root: Path) -> None:
        folder = root / str(self.pid)
        (folder / "net").mkdir(parents=True)
        fields = f"S 1 0 0 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 {self.started} 0 0"
        (folder / "stat").write_text(f"{self.pid} (a (strange) name) {fields}\n")
        (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{self.pid}\t{self.inner}\n")
        (folder / "comm").write_text(f"{self.name}\n")
        for file in ("tcp", "tcp6"):
            lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"]
            for number, (_, local, state, inode) in enumerate(each for each in self.sockets if each[0] == file):
                rest = f"00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0000000000000000 20 4 30 10 -1"
                lines.append(f"{number:4}: {local} 0A0060AF:262B {state} {rest}")
            (folder / "net" / file).write_text("\n".join(lines) + "\n")
        if self.holds is None:
            (folder / "fd").write_text("no folder that can be listed")
            return
        (folder / "fd").mkdir()
        for number, inode in enumerate(self.holds):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")

    def rename(self, root: Path, name: str) -> None:
        (root / str(self.pid) / "comm").write_text(f"{name}\n")


def host(root: Path, *speakers: Speaker) -> Path:
    """A fresh /proc with these processes."""
    if root.exists():
        shutil.rmtree(root)
    write_proc(root)
    for speaker in speakers:
        speaker.write(root)
    return root


def proven(root: Path, peer: tuple[str, int], claim: Claim, speaker: Speaker) -> Root:
    """What the agent makes of a connection whose other end is this process, with this claim."""
    proof = Proof(root, peer, claim)
    speaker.rename(root, proof.name)
    return proof.root()


def of(
    address: str = V4["10.231.0.2"], port: str = "B3DC", inode: int = 7, file: str = "tcp"
) -> tuple[str, str, str, int]:
    return (file, f"{address}:{port}", ESTABLISHED, inode)


PEER = ("10.231.0.2", 0xB3DC)


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (PEER, of()),
        (("::ffff:10.231.0.2", 0xB3DC), of()),  # the agent listens on both families
        (PEER, of(MAPPED["10.231.0.2"], file="tcp6")),  # the client's socket is of both
        (("fd00::2", 0xB3DC), of(V6["fd00::2"], file="tcp6")),
        (("::1", 0xB3DC), of(V6["::1"], file="tcp6")),
        (("127.0.0.1", 80), of(V4["127.0.0.1"], "0050")),
    ],
)
def test_the_connection_is_found_however_its_address_is_written(
    tmp_path: Path, peer: tuple[str, int], line: tuple[str, str, str, int]
) -> None:
    speaker = Speaker(4711, 1, 900, (line,), holds=(3, 7))
    assert proven(host(tmp_path / "proc", speaker), peer, speaker.claim, speaker) == Root(4711, 900)


@pytest.mark.parametrize(
    ("speaker", "claim", "reason"),
    [
        (Speaker(50, 1, 900, (of(),), (7,)), Claim(pid=2, started=900), "no process of this host has pid 2"),
        (Speaker(50, 1, 900, (of(),), (7,)), Claim(pid=50, started=900), "no process of this host has pid 50"),
        (Speaker(50, 1, 900, (of(),), (7,)), Claim(pid=1, started=901), "began at tick 901"),
        (Speaker(50, 1, 900, (), (7,)), Claim(pid=1, started=900), "not of process 1's network namespace"),
        (Speaker(50, 1, 900, (of(port="B3DD"),), (7,)), Claim(pid=1, started=900), "not of process 1's network"),
        (
            Speaker(50, 1, 900, (("tcp", "0200E70A:B3DC", LISTENING, 7),), (7,)),
            Claim(pid=1, started=900),
            "not of process 1's network",
        ),
        (Speaker(50, 1, 900, (of(),), (8,)), Claim(pid=1, started=900), "does not hold the connection"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, speaker: Speaker, claim: Claim, reason: str
) -> None:
    with pytest.raises(LeaseRefused, match=reason):
        Proof(host(tmp_path / "proc", speaker), PEER, claim)


@pytest.mark.parametrize("holds", [(7,), None])
def test_who_does_not_take_the_name_it_was_given_is_refused(tmp_path: Path, holds: tuple[int, ...] | None) -> None:
    speaker = Speaker(50, 1, 900, (of(),), holds)
    proof = Proof(host(tmp_path / "proc", speaker), PEER, speaker.claim)
    with pytest.raises(LeaseRefused, match="did not take the name"):
        proof.root()


def test_a_process_that_ends_while_it_is_asked_is_refused(tmp_path: Path) -> None:
    speaker = Speaker(50, 1, 900, (of(),), (7,))
    root = host(tmp_path / "proc", speaker)
    proof = Proof(root, PEER, speaker.claim)
    shutil.rmtree(root / "50")
    Speaker(50, 1, 950, (of(),), (7,), proof.name).write(root)  # its pid is another's now
    with pytest.raises(LeaseRefused, match="did not take the name"):
        proof.root()


def test_many_processes_that_look_alike_are_not_looked_into(tmp_path: Path) -> None:
    crowd = [Speaker(50 + number, 1, 900, (of(),)) for number in range(17)]
    with pytest.raises(LeaseRefused, match="more than 16 processes"):
        Proof(host(tmp_path / "proc", *crowd), PEER, crowd[0].claim)


def test_names_are_new_each_time_and_fit_into_comm(tmp_path: Path) -> None:
    speaker = Speaker(50, 1, 900, (of(),), (7,))
    root = host(tmp_path / "proc", speaker)
    names = {Proof(root, PEER, speaker.claim).name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 15 for name in names)  # TASK_COMM_LEN - 1


@st.composite
def processes(draw: st.DrawFn) -> list[Speaker]:
    """Processes of several pods, alike in all that a process can say of itself; each pod has its connection."""
    made: list[Speaker] = []
    for pid in range(100, 100 + draw(st.integers(1, 6))):
        inode = draw(st.integers(1, 3))  # the pod: its network namespace has one connection, from the same address
        connected = draw(st.booleans())
        made.append(
            Speaker(
                pid,
                inner=draw(st.integers(1, 2)),
                started=draw(st.integers(900, 901)),
                sockets=(of(inode=inode),) if connected else (),
                holds=draw(st.sampled_from([None, (), (inode,)])),
            )
        )
    return made


@given(processes(), st.data())
def test_a_connection_is_never_taken_for_another_process_s(
    tmp_path_factory: pytest.TempPathFactory, everybody: list[Speaker], data: st.DataObject
) -> None:
    root = host(tmp_path_factory.getbasetemp() / "everybody", *everybody)
    speaker = data.draw(st.sampled_from(everybody))
    claimed = data.draw(st.sampled_from(everybody))
    could_be_it = speaker.sockets and speaker.holds != ()
    try:
        found = proven(root, PEER, claimed.claim, speaker)
    except LeaseRefused:
        # who tells the truth, and is not contradicted by what can be seen, is believed
        assert claimed.claim != speaker.claim or not could_be_it
    else:
        assert found == speaker.root
        assert could_be_it
