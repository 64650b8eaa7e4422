"""Commands about this host: agent, doctor."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import Callable
from typing import Any

from energysweep.cli.answering import add_json, say_answer
from energysweep.cli.common import add_command, add_file_sd, fail, path, port, seconds
from energysweep.core.errors import AgentRunning, one_line
from energysweep.core.inputs import is_host
from energysweep.core.terminal import note, say


def add(commands: Any) -> None:
    """Add them to the command line."""
    agent = add_command(commands, "agent", _agent, "serves this host as its agent, until it is told to end")
    _add_meter(agent)
    agent.add_argument(
        "--socket",
        metavar="PATH",
        type=path,
        help="Leases are taken on the Unix socket PATH; by default ENERGYSWEEP_SOCKET, or one of this user.",
    )
    agent.add_argument(
        "--bind",
        metavar="ADDRESS",
        type=_bound,
        default="127.0.0.1",
        help="HTTP and TCP listen on ADDRESS; on 127.0.0.1 by default.",
    )
    agent.add_argument("--port", metavar="N", type=port, default=9770, help="HTTP listens on port N; 9770 by default.")
    agent.add_argument(
        "--lease-port", metavar="N", type=port, help="Leases are taken over TCP on port N, too, usually 9771."
    )
    agent.add_argument(
        "--advertise",
        metavar="ADDRESS",
        type=_address,
        default=os.environ.get("ENERGYSWEEP_ADVERTISE") or None,
        help="Others reach this host at ADDRESS; by default ENERGYSWEEP_ADVERTISE, what it binds to, or its own.",
    )
    add_file_sd(agent, "this agent and those of its sweeps")
    agent.add_argument(
        "--series-seconds",
        metavar="SECONDS",
        type=seconds,
        help="The series of an ended trial stay so long; by default ENERGYSWEEP_SERIES_SECONDS, or 300.",
    )
    agent.add_argument(
        "--linger", metavar="SECONDS", type=seconds, help="The agent ends when nobody has needed it for so long."
    )
    agent.add_argument(
        "--replace",
        action="store_true",
        help="The agent that runs, daemon or not, is ended, and this one goes on from its state.",
    )
    agent.add_argument(
        "--detach", action="store_true", help="The command ends when the agent serves, and leaves it running."
    )

    doctor = add_command(
        commands, "doctor", _doctor, "says which meters this host has, which it lacks, and how to get them"
    )
    _add_meter(doctor)
    add_json(doctor)


def _add_meter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--meter",
        metavar="KIND[:ARG]",
        action="append",
        help="This kind of meter is used; auto, the best of each component, by default. It may be given several times.",
    )


def _address(text: str) -> str:
    """The type of an option that is a host's name or address, without a port."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:]+", text) or not is_host(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address: a name, or an IP address, without a port")
    return text


def _bound(text: str) -> str:
    """The type of an option that is an address of this host, or a name of it."""
    if not is_host(text):
        raise argparse.ArgumentTypeError(f"{one_line(text, 60)!r} is no address of this host")
    return text


def _agent(arguments: argparse.Namespace) -> int:
    from energysweep.agent.discovery import TargetsFile
    from energysweep.agent.lifecycle import EXIT_ALREADY_RUNNING, start_agent
    from energysweep.agent.protocol import daemon_socket_path

    told = _detach() if arguments.detach else None
    try:
        server = start_agent(
            tuple(arguments.meter or ("auto",)),
            path=arguments.socket or daemon_socket_path(),
            address=arguments.bind,
            port=arguments.port,
            linger_seconds=arguments.linger,
            lease_port=arguments.lease_port,
            advertised=arguments.advertise,
            targets_file=TargetsFile(arguments.file_sd) if arguments.file_sd else None,
            series_seconds=arguments.series_seconds,
            replace=arguments.replace,
        )
    except AgentRunning as error:
        return fail(str(error), EXIT_ALREADY_RUNNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.end())
    places = [str(server.socket_path), server.url]
    places += [] if server.lease_port is None else [f"leases on {arguments.bind} port {server.lease_port}"]
    note(f"{server.agent.telling.notes}\nserving {', '.join(places)}")
    if told is not None:
        told()
    # Another thread may be the one that the kernel interrupts with a signal: then nothing wakes this one to handle it.
    while not server.wait(1.0):
        pass
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
    from energysweep.cli.doctor import answer, examine, render

    report = examine(tuple(arguments.meter or ("auto",)))
    if arguments.json:
        say_answer("doctor", answer(report))
    else:
        say(render(report))
    return 0
