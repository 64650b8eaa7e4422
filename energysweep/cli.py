"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done; 1 the sweep or a step failed; 2 the user's input is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from energysweep import __version__
from energysweep.errors import AgentRunning, EnergysweepError, InputError, MeterUnavailable

if TYPE_CHECKING:
    from energysweep.tuning.run import Run

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except InputError as error:
        return _fail(str(error), EXIT_INPUT)
    except MeterUnavailable as error:
        return _fail(f"{error}; {error.hint}" if error.hint else str(error), EXIT_INPUT)
    except EnergysweepError as error:
        return _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # `energysweep report ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(message: str, code: int) -> int:
    print(f"energysweep: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_fail(f"{message} (see {self.prog} --help)", EXIT_INPUT))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="energysweep", description="Hyperparameter sweeps with their cost in joules and grams of CO2e."
    )
    parser.add_argument("--version", action="version", version=f"energysweep {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    run = _command(commands, "run", _run, "run a sweep, then write its report")
    run.add_argument("sweep", metavar="SWEEP.yaml", type=Path)
    run.add_argument("--address", metavar="ADDR", help="of a Ray cluster; otherwise RAY_ADDRESS or a Ray of its own")
    run.add_argument("--output", metavar="DIR", type=Path, default=Path("results"), help="default: results")
    run.add_argument("--run-id", metavar="ID", help="default: the sweep's name and the time")
    run.add_argument("--metrics-port", metavar="N", type=_port, default=9770, help="of /metrics; default: 9770")
    _add_set(run)

    resume = _command(commands, "resume", _resume, "go on with an interrupted run, losing no joule")
    resume.add_argument("folder", metavar="RUN_DIR", type=Path)
    resume.add_argument("--address", metavar="ADDR", help="of a Ray cluster; otherwise RAY_ADDRESS or a Ray of its own")
    resume.add_argument("--metrics-port", metavar="N", type=_port, default=9770, help="of /metrics; default: 9770")

    validate = _command(commands, "validate", _validate, "check a sweep's file and say how many trials it makes")
    validate.add_argument("sweep", metavar="SWEEP.yaml", type=Path, nargs="?")
    validate.add_argument("--address", metavar="ADDR", help="also check that this Ray cluster can run it")
    validate.add_argument("--schema", action="store_true", help="print the JSON Schema of sweep files, for editors")
    _add_set(validate)

    report = _command(commands, "report", _report, "write a run's report again")
    report.add_argument("folder", metavar="RUN_DIR", type=Path)
    report.add_argument("--carbon", metavar="KEY=VALUE,...", help="for another grid, such as country=FRA")

    compare = _command(commands, "compare", _compare, "several runs side by side")
    compare.add_argument("folders", metavar="RUN_DIR", type=Path, nargs="+")
    compare.add_argument("--html", metavar="FILE", type=Path, help="write the comparison as a page, too")

    explain = _command(commands, "explain", _explain, "a trial's receipt, from its leases down to the meter readings")
    explain.add_argument("folder", metavar="RUN_DIR", type=Path)
    explain.add_argument("trial", metavar="TRIAL", help="its id, a unique beginning of it, or its label")

    agent = _command(commands, "agent", _agent, "serve this host as its agent, as a daemon")
    agent.add_argument("--meter", metavar="KIND[:ARG]", action="append", help="default: auto; may be given again")
    agent.add_argument(
        "--socket", metavar="PATH", type=Path, help="default: ENERGYSWEEP_SOCKET, or a path of this user"
    )
    agent.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="of HTTP; default: 127.0.0.1")
    agent.add_argument("--port", metavar="N", type=_port, default=9770, help="of HTTP; default: 9770")
    agent.add_argument("--linger", metavar="SECONDS", type=float, help="end when nobody has needed it for so long")
    agent.add_argument("--detach", action="store_true", help="return when it serves, and leave it running")

    doctor = _command(commands, "doctor", _doctor, "which meters this host has, which it lacks, how to get them")
    doctor.add_argument("--meter", metavar="KIND[:ARG]", action="append", help="default: auto; may be given again")
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=function)
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="replace a key of the file, such as objective.target=0.9; may be given again",
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535, 0 for any free one")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from energysweep.spec import check_workload, count_sentence, load_spec

    spec = load_spec(arguments.sweep, arguments.overrides)
    check_workload(spec)
    print(f"{spec.name}: {count_sentence(spec)}", file=sys.stderr)

    # Only now: bad input is told before Ray's second of import time, and nothing has been started.
    from energysweep.tuning.progress import progress_for_terminal
    from energysweep.tuning.run import run

    done = run(
        spec,
        address=arguments.address,
        output=arguments.output,
        run_id=arguments.run_id,
        metrics_port=arguments.metrics_port,
        progress=progress_for_terminal(),
    )
    return _tell(done)


def _resume(arguments: argparse.Namespace) -> int:
    from energysweep.tuning.progress import progress_for_terminal
    from energysweep.tuning.run import resume

    done = resume(
        arguments.folder,
        address=arguments.address,
        metrics_port=arguments.metrics_port,
        progress=progress_for_terminal(),
    )
    return _tell(done)


def _tell(done: Run) -> int:
    from energysweep.reporting import terminal_table

    _print(terminal_table(done.summary))
    print(f"report: {done.folder / 'report.html'}")
    for problem in done.problems:
        print(f"energysweep: {problem}", file=sys.stderr)
    if done.interrupted:
        return EXIT_INTERRUPTED
    return 0 if done.succeeded else EXIT_FAILED


def _validate(arguments: argparse.Namespace) -> int:
    from energysweep.spec import check_workload, count_sentence, json_schema, load_spec

    if arguments.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    if arguments.sweep is None:
        raise InputError("validate needs a sweep's file, or --schema")
    spec = load_spec(arguments.sweep, arguments.overrides)
    check_workload(spec)
    if arguments.address:
        from energysweep.tuning.run import check_cluster

        check_cluster(spec, arguments.address)
    print(f"{spec.name}: {count_sentence(spec)}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from energysweep import carbon
    from energysweep.ledger import FILE_NAME, Ledger
    from energysweep.reporting import terminal_table, write_report

    grid = carbon.resolve(**carbon.parse_carbon_option(arguments.carbon)) if arguments.carbon is not None else None
    with Ledger.open(_run_folder(arguments.folder) / FILE_NAME) as ledger:
        summary = write_report(arguments.folder, ledger.read(), grid)
    _print(terminal_table(summary))
    print(f"report: {arguments.folder / 'report.html'}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from energysweep.ledger import FILE_NAME, Ledger
    from energysweep.reporting import compare, comparison_html, comparison_table, summarise, write_whole

    summaries = []
    for folder in arguments.folders:
        with Ledger.open(_run_folder(folder) / FILE_NAME) as ledger:
            summaries.append(summarise(ledger.read()))
    comparison = compare(summaries)
    _print(comparison_table(comparison))
    if arguments.html:
        write_whole(arguments.html, comparison_html(comparison))
        print(f"comparison: {arguments.html}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from energysweep.ledger import FILE_NAME, Ledger
    from energysweep.reporting import explain, receipt_text

    with Ledger.open(_run_folder(arguments.folder) / FILE_NAME) as ledger:
        receipt = explain(ledger.read(), arguments.trial)
    _print(receipt_text(receipt))
    return 0


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 160  # a file or a pipe has no width to fit into
    console.print(table)


def _run_folder(folder: Path) -> Path:
    from energysweep.ledger import FILE_NAME

    if not folder.is_dir():
        raise InputError("there is no such folder", file=str(folder))
    if not (folder / FILE_NAME).is_file():
        raise InputError(f"this is no run folder: it has no {FILE_NAME}", file=str(folder))
    return folder


def _agent(arguments: argparse.Namespace) -> int:
    from energysweep.agent.connect import EXIT_ALREADY_RUNNING
    from energysweep.agent.protocol import daemon_socket_path
    from energysweep.agent.start import start_agent

    told = _detach() if arguments.detach else None
    try:
        server = start_agent(
            tuple(arguments.meter or ("auto",)),
            path=arguments.socket or daemon_socket_path(),
            address=arguments.bind,
            port=arguments.port,
            linger_seconds=arguments.linger,
        )
    except AgentRunning as error:
        return _fail(str(error), EXIT_ALREADY_RUNNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.end())
    print(f"{server.agent.notes}\nserving {server.socket_path} and {server.url}", file=sys.stderr, flush=True)
    if told is not None:
        told()
    server.wait()
    server.stop()
    return 0


def _detach() -> Callable[[], None]:
    """Go on in a child of its own session; this process ends when the child says that it serves, or has ended.

    Returns:
        In the child only: what says that it serves.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()

        def told() -> None:
            os.write(writing, b".")
            os.close(writing)
            os.chdir("/")
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)

        return told
    os.close(writing)
    if os.read(reading, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status))


def _doctor(arguments: argparse.Namespace) -> int:
    from energysweep import doctor

    return doctor.main(tuple(arguments.meter or ("auto",)))
