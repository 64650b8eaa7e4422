"""What a process loads is told apart from what it does: modules of all kinds, blocks, threads, forks, programs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import energysweep
from energysweep.core.phases import COMMAND_OUTPUT, StartUp, output_name, unwatch, unwatched, watch
from energysweep.tune.command import Line, Lines, json_reports

LOG = "seen"  # a module here says with it what it did


class Trial:
    """A trial of this process that works; what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.startup = StartUp(self.told.append)
        self.startup.work_begins()
        self.told.clear()


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial()
    watch(trial.startup)
    yield trial
    unwatch(trial.startup)


@pytest.fixture
def write(tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes a module that can be imported meanwhile; its code finds the trial's list as ``told``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, LOG, types.ModuleType(LOG))
    sys.modules[LOG].told = trial.told  # type: ignore[attr-defined]
    before = set(sys.modules)

    def write(name: str, code: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"from {LOG} import told\ntold.append(__name__)\n{textwrap.dedent(code)}")
        importlib.invalidate_caches()
        return path

    importlib.invalidate_caches()  # the first time, that loads something itself
    trial.told.clear()
    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_loading_a_module_is_start_up_and_importing_it_again_is_nothing(
    trial: Trial, write: Callable[..., Path]
) -> None:
    write("es_plain.py")
    import es_plain  # type: ignore[import-not-found]

    assert trial.told == [True, "es_plain", False]
    import es_plain as again

    assert again is es_plain
    assert importlib.import_module("es_plain") is es_plain
    assert trial.told == [True, "es_plain", False]


def test_what_a_module_imports_is_part_of_it(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_outer/__init__.py", "from . import inner\nimport es_other")
    write("es_outer/inner.py", "import es_outer")  # in a circle
    write("es_other.py")
    importlib.import_module("es_outer.inner")
    assert trial.told == [True, "es_outer", "es_outer.inner", "es_other", False]


def test_modules_look_as_if_nobody_had_watched(write: Callable[..., Path]) -> None:
    path = write("es_plain.py")
    module = importlib.import_module("es_plain")
    assert vars(module.__loader__) == {"name": "es_plain", "path": str(path)}
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__


def test_a_module_that_fails_ends_start_up_and_may_be_tried_again(trial: Trial, write: Callable[..., Path]) -> None:
    path = write("es_broken.py", "raise RuntimeError('not today')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not today"):
            importlib.import_module("es_broken")
    write("es_broken.py", "x = 1").touch()
    os.utime(path, (1, 1))  # or the bytecode of the first one might do
    assert importlib.import_module("es_broken").x == 1
    assert trial.told == [True, "es_broken", False] * 3
    assert not trial.startup.is_on


def test_a_module_that_is_not_there_costs_no_word(trial: Trial) -> None:
    for _ in range(3):
        with pytest.raises(ModuleNotFoundError, match="No module named 'es_nowhere'"):
            importlib.import_module("es_nowhere")
        assert importlib.util.find_spec("es_nowhere") is None
    assert trial.told == []


def test_to_look_for_a_module_is_not_to_load_it(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_plain.py")
    assert importlib.util.find_spec("es_plain") is not None
    assert trial.told == []
    importlib.import_module("es_plain")
    assert trial.told == [True, "es_plain", False]


def test_a_reload_is_start_up(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_plain.py")
    module = importlib.import_module("es_plain")
    trial.told.clear()
    assert importlib.reload(module) is module
    assert trial.told == [True, "es_plain", False]


def test_namespace_packages_zip_files_and_lazy_modules_load(
    tmp_path: Path, trial: Trial, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("es_space/part.py")
    importlib.import_module("es_space.part")
    assert [word for word in trial.told if word == "es_space.part"] == ["es_space.part"]
    trial.told.clear()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as file:
        for name in ("es_zipped", "es_zipped_too"):
            file.writestr(f"{name}.py", f"from {LOG} import told\ntold.append(__name__)\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packed.zip"))
    importlib.import_module("es_zipped")
    importlib.import_module("es_zipped_too")
    assert trial.told == [True, "es_zipped", False, True, "es_zipped_too", False]
    trial.told.clear()
    write("es_lazy.py", "x = 1")
    spec = importlib.util.find_spec("es_lazy")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["es_lazy"] = module
    spec.loader.exec_module(module)
    assert "es_lazy" not in trial.told
    assert module.x == 1
    assert trial.told[-3:] == [True, "es_lazy", False]


def test_extension_modules_and_built_in_ones_load(trial: Trial) -> None:
    import _elementtree

    path = _elementtree.__spec__.origin
    before = sys.modules.pop("_elementtree")
    try:
        again = importlib.import_module("_elementtree")
        assert again.__spec__ is not None
        assert again.__spec__.origin == path
        assert trial.told == [True, False, True, False]  # it is created, then run
        assert "exec_module" not in vars(again.__loader__)
    finally:
        sys.modules["_elementtree"] = before
    trial.told.clear()
    sys.modules.pop("_opcode", None)
    importlib.import_module("_opcode")
    assert not trial.startup.is_on


def test_while_any_thread_loads_it_is_start_up(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_slow.py", f"import {LOG}\n{LOG}.begun.set()\n{LOG}.go_on.wait(30)")
    write("es_quick.py")
    sys.modules[LOG].begun, sys.modules[LOG].go_on = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=importlib.import_module, args=("es_slow",))
    thread.start()
    sys.modules[LOG].begun.wait(30)
    importlib.import_module("es_quick")
    assert trial.told == [True, "es_slow", "es_quick"]
    assert trial.startup.is_on
    sys.modules[LOG].go_on.set()
    thread.join()
    assert trial.told == [True, "es_slow", "es_quick", False]


def test_many_threads_that_load_leave_nothing_behind(trial: Trial, write: Callable[..., Path]) -> None:
    for number in range(40):
        write(f"es_part{number}.py", f"import es_part{number // 2}" if number else "")
    threads = [threading.Thread(target=importlib.import_module, args=(f"es_part{n}",)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = [word for word in trial.told if isinstance(word, bool)]
    assert changes == [True, False] * (len(changes) // 2)  # by turns
    assert len({word for word in trial.told if not isinstance(word, bool)}) == 40
    assert not trial.startup.is_on


def test_a_block_is_start_up_and_blocks_may_be_nested(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_plain.py")
    with energysweep.startup():
        with energysweep.startup():
            importlib.import_module("es_plain")
        trial.told.append("loaded")
    assert trial.told == [True, "es_plain", "loaded", False]
    with pytest.raises(ZeroDivisionError), energysweep.startup():
        raise ZeroDivisionError
    assert trial.told == [True, "es_plain", "loaded", False, True, False]


def test_what_talks_to_the_agent_does_not_wait_for_itself(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_plain.py")
    with unwatched():
        importlib.import_module("es_plain")
    assert trial.told == ["es_plain"]


class Seen:
    """Finds nothing; notes that somebody looks for a module, whose lock he holds by then."""

    def __init__(self, name: str) -> None:
        self.name, self.is_looked_for = name, threading.Event()

    def find_spec(self, fullname: str, path: object, target: object = None, /) -> None:
        if fullname == self.name:
            self.is_looked_for.set()


def test_what_tells_may_load_what_another_thread_is_loading(write: Callable[..., Path]) -> None:
    write("es_shared.py")
    seen = Seen("es_shared")
    told: list[bool] = []

    def load() -> None:
        importlib.import_module("es_shared")

    def tell(is_startup: bool) -> None:
        told.append(is_startup)
        if len(told) == 1:
            other.start()
            seen.is_looked_for.wait()
            load()

    startup = StartUp(tell)
    other = threading.Thread(target=load, daemon=True)
    first = threading.Thread(target=startup.work_begins, daemon=True)
    watch(startup)
    sys.meta_path.insert(1, seen)  # behind ours, which then asks it
    try:
        first.start()
        for thread in (first, other):
            thread.join(60)
            assert not thread.is_alive(), "they wait for each other"
    finally:
        sys.meta_path.remove(seen)
        unwatch(startup)
    assert told == [False]  # the other thread has loaded it before this could be told
    assert not startup.is_on


def test_a_block_that_a_finalizer_opens_in_the_middle_of_telling_waits_for_nobody() -> None:
    told: list[bool] = []

    def tell(is_startup: bool) -> None:
        told.append(is_startup)
        if len(told) == 1:
            startup.enter()

    startup = StartUp(tell)
    thread = threading.Thread(target=startup.work_begins, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for itself"
    startup.leave()
    assert told == [False, True, False]


def test_telling_that_fails_is_told_to_who_changed_it_and_the_next_change_is_told() -> None:
    told: list[bool] = []

    def tell(is_startup: bool) -> None:
        told.append(is_startup)
        if len(told) == 1:
            raise ZeroDivisionError

    startup = StartUp(tell)
    with pytest.raises(ZeroDivisionError):
        startup.work_begins()
    startup.enter()
    startup.leave()
    assert told == [False, True, False]


def test_a_trial_that_has_ended_hears_nothing_and_nothing_is_left(trial: Trial, write: Callable[..., Path]) -> None:
    finders = list(sys.meta_path)
    unwatch(trial.startup)
    assert sys.meta_path == finders[1:]
    write("es_plain.py")
    importlib.import_module("es_plain")
    with energysweep.startup():
        pass
    assert trial.told == ["es_plain"]


def test_start_up_lasts_until_the_work_begins() -> None:
    told: list[object] = []
    startup = StartUp(told.append)
    startup.enter()
    startup.leave()
    assert startup.is_on
    startup.work_begins()
    startup.work_begins()
    assert not startup.is_on
    assert told == [False]


def test_a_forked_child_says_nothing(trial: Trial, write: Callable[..., Path]) -> None:
    write("es_in_child.py")
    source, sink = os.pipe()
    with energysweep.startup():
        pid = os.fork()
        if pid == 0:
            try:
                importlib.import_module("es_in_child")
                with energysweep.startup():
                    pass
                os.write(sink, json.dumps(trial.told).encode())
            finally:
                os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(source, 1000)) == [True, "es_in_child"]
    assert trial.told == [True, False]
    for descriptor in (source, sink):
        os.close(descriptor)


def told_of(program: str) -> tuple[list[str], str]:
    """The lines that are not empty of a program that a trial runs, and what the same one writes alone."""
    source, sink = os.pipe()
    environment = os.environ | {COMMAND_OUTPUT: output_name(sink)}
    command = [sys.executable, "-c", program]
    subprocess.run(command, stdout=sink, env=environment, check=True, timeout=60)
    os.close(sink)
    with os.fdopen(source, "rb") as output:
        lines = [line.text for line in Lines().feed(output.read(), is_end=True) if line.text]
    alone = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return lines, alone.stdout


STARTS, WORKS = '{"energysweep": "startup"}', '{"energysweep": "work"}'

PROGRAM = """
import energysweep, subprocess, sys
print("reads ... ", end="")
with energysweep.startup():
    print("loads")
    print(subprocess.run([sys.executable, "-c", "import energysweep\\nwith energysweep.startup(): print(1)"],
                         capture_output=True, text=True).stdout.strip(), end=" ... ")
print("works")
"""


def test_a_program_s_blocks_are_reports_where_its_reports_go_also_after_unfinished_lines() -> None:
    lines, alone = told_of(PROGRAM)
    assert lines == ["reads ... ", STARTS, "loads", "1 ... ", WORKS, "works"]
    assert [report for line in lines for report in json_reports(Line(line))] == [json.loads(STARTS), json.loads(WORKS)]
    assert alone == "reads ... loads\n1 ... works\n"


NESTED = """
import energysweep
with energysweep.startup():
    with energysweep.startup():
        print("inner")
    print("outer")
try:
    with energysweep.startup(), energysweep.startup():
        raise ValueError
except ValueError:
    print("works")
"""


def test_a_program_s_nested_blocks_are_start_up_until_the_outer_one_ends() -> None:
    assert told_of(NESTED) == (
        [STARTS, "inner", "outer", WORKS, STARTS, WORKS, "works"],
        "inner\nouter\nworks\n",
    )


THREADS = """
import energysweep, threading
both, left = threading.Barrier(2), threading.Event()
def first():
    with energysweep.startup():
        both.wait(30)
    left.set()
thread = threading.Thread(target=first)
thread.start()
with energysweep.startup():
    both.wait(30)
    left.wait(30)
    thread.join()
    print("one still loads")
print("works")
"""


def test_a_program_s_blocks_in_threads_are_start_up_until_the_last_one_ends() -> None:
    assert told_of(THREADS)[0] == [STARTS, "one still loads", WORKS, "works"]


FORKS = """
import energysweep, os
def child(what):
    pid = os.fork()
    if pid == 0:
        with energysweep.startup():
            os.write(1, what.encode())
        os._exit(0)
    os.waitpid(pid, 0)
with energysweep.startup():
    child("inside\\n")
    print("still loads", flush=True)
child("after\\n")
"""


def test_a_program_s_forked_child_ends_no_block_of_its_parent_and_has_blocks_of_its_own() -> None:
    assert told_of(FORKS)[0] == [STARTS, "inside", "still loads", WORKS, STARTS, "after", WORKS]
