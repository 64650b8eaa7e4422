"""What a submitted sweep brings along."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.jobs.upload import MAX_BYTES, Upload, upload_of
from energysweep.sweepfile import load_spec
from tests.conftest import need_root, open_to_all

SWEEP = """
name: mine
workload: train.py:train
parameters: {learning_rate: {grid: [1e-3, 1e-2]}}
objective: {metric: score, mode: max}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    for name in ("train.py", "helpers/__init__.py", "data/small.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder


@pytest.fixture
def upload(folder: Path) -> Callable[..., Upload]:
    return lambda *overrides: upload_of(load_spec(folder / "sweep.yaml", overrides))


def staged(upload: Upload, folder: Path) -> Path:
    (folder / "there").mkdir()
    upload.stage(folder / "there")
    return folder / "there"


def test_the_folder_of_the_file_comes_along_and_is_the_same_sweep_there(
    upload: Callable[..., Upload], tmp_path: Path
) -> None:
    there = staged(upload("repeats=3"), tmp_path)
    files = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert files == {"train.py", "helpers/__init__.py", "data/small.csv", "sweep.yaml"}
    spec = load_spec(there / "sweep.yaml")
    assert spec.workload == f"{there}/train.py:train"
    assert spec.repeats == 3
    assert spec.working_dir is None


def test_whose_the_run_is_goes_along_as_the_one_who_submits_it_is_known_here(
    upload: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_OWNER", "Ada's team")
    assert "owner: Ada's team\n" in upload().text
    assert "owner: Grace\n" in upload("owner=Grace").text
    assert upload().ownerless == upload("owner=Grace").ownerless != upload("repeats=3").ownerless


def test_what_is_no_code_stays_at_home(upload: Callable[..., Upload], folder: Path) -> None:
    for name in (
        *(".git/config", ".venv/bin/python", "results/old/report.html", "__pycache__/train.pyc"),
        *("runs/of-mine/ledger.sqlite", "runs/of-mine/report.html", "notes/a.log", "big/weights.bin", "secret.env"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".gitignore").write_text("*.log\n*.env\n!keep.env\n")
    (folder / ".rayignore").write_text("/big/\n")
    (folder / "keep.env").write_text("x")
    names = set(upload("runtime_env={excludes: [data]}").files)
    assert names == {"train.py", "helpers/__init__.py", ".gitignore", "keep.env"}


def test_the_working_dir_comes_along_instead_with_what_the_sweep_names(
    upload: Callable[..., Upload], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "model.py").write_text("x = 1\n")
    (folder / "trace.csv").write_text("time_seconds\n")
    there = staged(upload("working_dir=../lib", 'meters=["replay:trace.csv?after=loop"]'), tmp_path)
    assert sorted(path.name for path in there.iterdir()) == ["model.py", "sweep.yaml", "trace.csv", "train.py"]
    spec = load_spec(there / "sweep.yaml")
    assert spec.workload == f"{there}/train.py:train"
    assert spec.meters == [f"replay:{there}/trace.csv?after=loop"]


def test_a_program_of_one_s_own_stays_executable(upload: Callable[..., Upload], folder: Path, tmp_path: Path) -> None:
    (folder / "train.sh").write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match=r"train\.sh may not be executed"):
        upload("workload=null", "command=[./train.sh]")
    (folder / "train.sh").chmod(0o755)
    there = staged(upload("workload=null", "command=[./train.sh]"), tmp_path)
    assert (there / "train.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["workload=other.py:train"], "workload: there is no file .*other.py"),
        (["storage=checkpoints"], "storage: checkpoints would start from a folder of this machine"),
        (["working_dir=nowhere"], "working_dir: there is no folder .*nowhere"),
        (["working_dir=s3://bucket/code.zip"], "working_dir: submit uploads a folder of this machine"),
        (
            ["runtime_env={py_modules: [s3://b/m.zip, ../lib]}"],
            r"runtime_env.py_modules\[1\]: ../lib is of this machine",
        ),
        (["workload=null", "command=[./no.sh]"], "no.sh is not among what is uploaded"),
        (['meters=["replay:no.csv"]'], r"meters\[0\]: there is no file .*no.csv"),
    ],
)
def test_what_cannot_come_along_is_told_with_its_key(
    upload: Callable[..., Upload], overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        upload(*overrides)


@pytest.mark.parametrize(
    ("sweep", "workload"), [("c:sweep.yaml", "train.py"), ("sweep.yaml", "a:b.py"), ("x\\y.yaml", "train.py")]
)
def test_what_the_sweep_itself_needs_under_a_name_that_would_not_arrive_is_told(
    folder: Path, sweep: str, workload: str
) -> None:
    (folder / workload).touch()
    (folder / sweep).write_text(SWEEP)
    with pytest.raises(InputError, match="has a name that Ray does not unpack; rename it"):
        upload_of(load_spec(folder / sweep, [f"workload={workload}:train"]))


@pytest.mark.parametrize("place", ["code/space.py", "space.py"])
def test_the_function_that_makes_the_configurations_comes_along_wherever_it_lies(
    upload: Callable[..., Upload], folder: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).write_text("def space(trial):\n    return {}\n")
    (folder / ".rayignore").write_text("space.py\n")
    there = staged(upload(f"space={tmp_path / place}:space", "parameters={}"), tmp_path)
    assert (there / "space.py").is_file()
    assert load_spec(there / "sweep.yaml").space == f"{there}/space.py:space"


def test_too_much_is_told_with_the_largest(upload: Callable[..., Upload], folder: Path) -> None:
    with (folder / "data" / "images.bin").open("wb") as stream:
        stream.truncate(MAX_BYTES)  # a hole: it takes no room
    with pytest.raises(InputError, match=r"200 MiB are too much to upload \(at most 200 MiB\): data/ 200 MiB"):
        upload()


SECRETS = [
    *(
        ".env",
        ".env.local",
        "deep/er/.env",
        ".envrc",
        "id_rsa",
        "id_ed25519",
        "server.pem",
        "key.pem",
        "tls.key",
        "k.p12",
    ),
    *(".aws/credentials", ".ssh/config", ".kube/config", ".ray/auth_token", ".docker/config.json", ".netrc", ".npmrc"),
    *(
        ".pypirc",
        ".git-credentials",
        "terraform.tfstate",
        "prod.tfvars",
        "credentials.json",
        "secrets.yaml",
        "kaggle.json",
    ),
    *(".bash_history", "run.key", "ID_RSA", "Secrets.TOML", "service-account-prod.json", "auth_token", "kubeconfig"),
]
HARMLESS = (".env.example", "id_rsa.pub", "secretary.py", "tokenizer.json", "key.py", "environment.yml", "keys/a.py")


def test_what_is_known_to_be_secret_stays_and_is_named(upload: Callable[..., Upload], folder: Path) -> None:
    for name in (*SECRETS, *HARMLESS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    made = upload()
    assert set(made.files) == {"train.py", "helpers/__init__.py", "data/small.csv", *HARMLESS}
    for name in SECRETS:
        assert any(name == odd or (odd.endswith("/") and name.startswith(odd)) for odd in made.odd), name
    assert set(made.stays.values()) == {"looks like a secret"}
    warning = made.warning() or ""
    assert ".aws/ (looks like a secret), .bash_history (looks like a secret)" in warning
    assert "env_vars" in warning  # how its values reach trials
    assert warning.isprintable()


def test_a_line_in_rayignore_takes_along_what_only_looks_like_a_secret(
    upload: Callable[..., Upload], folder: Path
) -> None:
    for name in ("ca.pem", "client.pem"):
        (folder / name).write_text("x")
    (folder / ".gitignore").write_text("!client.pem\n")  # git's file says nothing of clusters
    (folder / ".rayignore").write_text("!ca.pem\n")
    made = upload()
    assert "ca.pem" in made.files
    assert made.odd == ["client.pem"]


@pytest.mark.parametrize("line", ["!.aws/", "!.aws", "!/.aws/", "!**/.aws/"])
def test_a_line_in_rayignore_takes_along_a_folder_that_only_looks_like_a_secret(
    upload: Callable[..., Upload], folder: Path, line: str
) -> None:
    for name in (".aws/credentials", ".aws/config", ".ssh/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".rayignore").write_text(f"{line}\n")
    made = upload()
    assert made.odd == [".ssh/"]
    assert {".aws/credentials", ".aws/config"} <= set(made.files)


def test_a_line_in_rayignore_for_a_file_takes_no_folder_along(upload: Callable[..., Upload], folder: Path) -> None:
    (folder / ".aws").mkdir()
    (folder / ".aws" / "config").write_text("x")
    (folder / ".rayignore").write_text("!config\n")
    assert upload().odd == [".aws/"]


def test_links_that_leave_the_folder_stay_and_those_inside_become_what_they_lead_to(
    upload: Callable[..., Upload], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "data.csv").write_text("x")
    (folder / ".env").write_text("SECRET=1")
    (folder / "ignored.txt").write_text("x")
    (folder / ".rayignore").write_text("ignored.txt\n")
    links = {
        "inside.csv": "data/small.csv",
        "out.csv": "../outside/data.csv",
        "shadow": "/etc/shadow",
        "environ": "/proc/self/environ",
        "zero": "/dev/zero",
        "root": "/",
        "folder": "data",
        "loop": "loop",
        "nowhere": "/nowhere/x",
        "settings": ".env",
        "unignored": "ignored.txt",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    made = upload()
    assert set(made.files) == {"train.py", "helpers/__init__.py", "data/small.csv", "inside.csv"}
    assert made.stays == {
        ".rayignore": "says what goes",
        ".env": "looks like a secret",
        "ignored.txt": "is named by .gitignore or .rayignore",
        "out.csv": "is a link that leads out of the folder",
        "shadow": "is a link that leads out of the folder",
        "environ": "is a link that leads out of the folder",
        "zero": "is a link that leads out of the folder",
        "root/": "is a link to a folder",
        "folder/": "is a link to a folder",
        "loop": "leads nowhere",
        "nowhere": "leads nowhere",
        "settings": "looks like a secret",
        "unignored": "is a link to a file that stays",
    }
    there = staged(made, tmp_path)
    assert (there / "inside.csv").read_text() == "x = 1\n"
    assert not (there / "inside.csv").is_symlink()


def test_odd_files_stay_and_are_named_in_one_line(upload: Callable[..., Upload], folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        listener.bind("sock")
        os.chdir(here)
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff"))).write_text("x")
    (folder / "new\nline\x1b[2J").write_text("x")
    for name in ("a\\b", "c:d", "e:f/g"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    made = upload()
    assert made.stays == {
        "pipe": "is no plain file (a pipe, socket or device)",
        "sock": "is no plain file (a pipe, socket or device)",
        "bad\udcff": "has a name that is not UTF-8",
        "a\\b": "has a name that Ray does not unpack",
        "c:d": "has a name that Ray does not unpack",
        "e:f/": "has a name that Ray does not unpack",
    }
    assert (made.warning() or "").isprintable()
    assert all(line.isprintable() for line in made.listing())
    assert (staged(made, tmp_path) / "new\nline\x1b[2J").exists()


def test_what_may_not_be_read_stays_and_is_named(folder: Path) -> None:
    need_root()
    (folder / "unreadable").write_text("x")
    (folder / "closed").mkdir()
    for name in ("unreadable", "closed"):
        (folder / name).chmod(0)
    open_to_all(folder)
    program = (
        "import os, sys; from pathlib import Path; from energysweep.jobs.upload import leaving\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(sorted(leaving(Path(sys.argv[1])).stays.items()))"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "[('closed/', 'may not be read'), ('unreadable', 'may not be read')]\n"


def test_a_file_that_has_gone_or_become_a_link_is_told(
    upload: Callable[..., Upload], folder: Path, tmp_path: Path
) -> None:
    made = upload()
    (folder / "data" / "small.csv").unlink()
    with pytest.raises(InputError, match=r"small\.csv: cannot be read: No such file"):
        made.stage(tmp_path)
    (folder / "data" / "small.csv").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"small.csv: cannot be read: Too many levels of symbolic links"):
        made.stage(tmp_path)


def test_patterns_hold_as_git_has_them_up_to_the_repository_s_root(folder: Path) -> None:
    repository = folder.parent
    for name in (
        *(
            "a.log",
            "keep.log",
            "sub/b.log",
            "sub/keep.log",
            "sub/deep/c.tmp",
            "sub/deep/d.tmp",
            "build/x",
            "sub/build/x",
        ),
        *("local.cfg", "secretly/x", "anchored", "sub/anchored"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (repository / ".git" / "info").mkdir(parents=True)
    (repository / ".git" / "info" / "exclude").write_text("local.cfg\n")
    (repository / ".gitignore").write_text("*.log\nbuild/\n/code/secretly/\n")
    (repository.parent / ".gitignore").write_text("*\n")  # above the root: none of git's
    (folder / ".gitignore").write_text("!keep.log\n*.tmp\n/anchored\n")
    (folder / "sub" / ".rayignore").write_text("keep.log\n")
    (folder / "sub" / "deep" / ".gitignore").write_text("!c.tmp\n")
    found = set(upload_of(load_spec(folder / "sweep.yaml")).files)
    code = {"train.py", "helpers/__init__.py", "data/small.csv", ".gitignore", "sub/deep/.gitignore"}
    assert found == {*code, "keep.log", "sub/deep/c.tmp", "sub/anchored"}


def test_a_folder_that_its_repository_ignores_is_uploaded_all_the_same(folder: Path) -> None:
    (folder.parent / ".git").mkdir()
    (folder.parent / ".gitignore").write_text("/code/\n*.csv\n")
    assert set(upload_of(load_spec(folder / "sweep.yaml")).files) == {
        "train.py",
        "helpers/__init__.py",
        "data/small.csv",
    }


def test_a_file_of_patterns_that_cannot_be_used_stops_the_upload(upload: Callable[..., Upload], folder: Path) -> None:
    (folder / ".gitignore").write_bytes(b"\xff\xfe*.env")
    with pytest.raises(InputError, match=r"\.gitignore:1: is not a text in UTF-8"):
        upload()


def test_a_program_that_stays_is_told_with_the_reason(upload: Callable[..., Upload], folder: Path) -> None:
    (folder / "train.sh").write_text("#!/bin/sh\n")
    (folder / ".rayignore").write_text("*.sh\n")
    with pytest.raises(InputError, match=r"not among what is uploaded of .*: it is named by .gitignore or .rayignore"):
        upload("workload=null", "command=[./train.sh]")


def test_a_dry_run_lists_what_goes_and_what_stays_and_asks_no_cluster(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    (folder / ".env").write_text("SECRET=1")
    (folder / "notes.log").write_text("x")
    (folder / ".gitignore").write_text("*.log\n")
    assert main(["submit", str(folder / "sweep.yaml"), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, *lines = out.splitlines()
    assert first.startswith(f"{folder}: 5 files, ")
    assert [line.split() for line in lines[:3]] == [
        ["6", ".gitignore"],
        ["6", "data/small.csv"],
        ["6", "helpers/__init__.py"],
    ]
    assert lines[5:] == [
        "stays here:",
        "  .env: looks like a secret",
        "  notes.log: is named by .gitignore or .rayignore",
    ]
    assert main(["submit", "--dry-run"]) == 2
