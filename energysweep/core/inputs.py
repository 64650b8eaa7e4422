"""What people hand in, in one place each: a file, a path, an address, a duration. Each is returned, or is one line."""

from __future__ import annotations

import errno
import math
import os
import stat
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from energysweep.core.errors import InputError, one_line

MAX_SECONDS = 1e9  # 30 years; the kernel's timers end at 292
MAX_GRAMS = 1e15
_MAX_PATH_BYTES, _MAX_NAME_BYTES = 4095, 255  # Linux: PATH_MAX without its null byte, NAME_MAX


MOST_OF_A_WORD: Final = 100


def word(text: str) -> str:
    """A short text that people call something by: an owner, a tag.

    Raises:
        ValueError: it is none.
    """
    if not 0 < len(text) <= MOST_OF_A_WORD or not text.isprintable() or text.strip() != text:
        raise ValueError(f"must be 1 to {MOST_OF_A_WORD} printable characters, without a blank at either end")
    return text


def read_text(path: Path, at_most: int, what: str) -> str:
    """The text of a file that somebody names.

    Args:
        path: of the file.
        at_most: so many bytes.
        what: what it should be, for the messages: ``a sweep YAML``.

    Raises:
        InputError: as of ``read_bytes``, or it is no text in UTF-8.
    """
    return decoded(read_bytes(path, at_most, what), str(path))


def read_bytes(path: Path, at_most: int, what: str) -> bytes:
    """What a file that somebody names holds. Arguments as of ``read_text``.

    Raises:
        InputError: there is none, it cannot be read, is no plain file (a folder, a pipe, a device), or is larger.
    """
    file = str(path)
    try:
        # Not blocking: nobody may ever write into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise InputError(f"is a folder, not {what}", file=file)
            if not stat.S_ISREG(mode):
                raise InputError(f"is a pipe or a device, not {what}", file=file)
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(at_most + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise InputError("there is no such file", file=file) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte, or a name that no bytes stand for
        raise InputError(f"cannot be read: {_reason(error)}", file=file) from None
    if len(data) > at_most:
        raise InputError(f"is larger than {at_most} bytes; that is not {what}", file=file)
    return data


def decoded(data: bytes, file: str) -> str:
    """The text that a file's bytes are.

    Raises:
        InputError: they are no UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        problem = "is not a text in UTF-8" + ("; it is in UTF-16: save it as UTF-8" if is_utf16 else "")
        raise InputError(problem, file=file, line=line) from None


def checked_path(text: str) -> Path:
    """A path that somebody gives, with ``~`` and ``~user`` spelled out.

    Raises:
        ValueError: no file can have it; the text says why.
    """
    if "\0" in text:
        raise ValueError("a path cannot hold a null character")
    try:
        path = Path(text).expanduser()
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError("a path cannot hold half of a character") from None
    except RuntimeError:  # pathlib's word for it
        user = one_line(Path(text).parts[0].removeprefix("~"), 60)
        raise ValueError(f"there is no user {user} here" if user else "this user has no home folder") from None
    if len(encoded) > _MAX_PATH_BYTES or any(len(name) > _MAX_NAME_BYTES for name in encoded.split(b"/")):
        raise ValueError(
            f"the path is too long: at most {_MAX_PATH_BYTES} bytes, and {_MAX_NAME_BYTES} between two slashes"
        )
    return path


def variable_path(variable: str, text: str) -> Path:
    """The path that an environment variable gives.

    Raises:
        InputError: no file can have it.
    """
    try:
        return checked_path(text)
    except ValueError as error:
        raise InputError(str(error), key=variable) from None


def is_host(text: str) -> bool:
    """Whether a host may have this name or address; whoever looks up another one is thrown a UnicodeError."""
    try:
        text.encode("idna")  # no empty labels, none of over 63 characters
    except UnicodeError:
        return False
    return text.isprintable() and " " not in text


def host_and_port(text: str, key: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT, the host in brackets if it is an IPv6 address.

    Args:
        text: what somebody gives.
        key: where, for the message.

    Raises:
        InputError: it is not of that form, or no host can have that name.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or not port or "@" in text or parts.netloc != text or not is_host(host):
        raise InputError(f"{one_line(text, 60)!r} is no address: HOST:PORT, such as agent.energysweep:9771", key=key)
    return host, port


def is_file(path: str | Path) -> bool:
    """Whether there is a plain file that this user can get at; a link to one is one."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises where a folder above may not be looked into


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder that this user can get at; a link to one is one."""
    return os.path.isdir(path)  # noqa: PTH112  as above


def is_there(path: str | Path) -> bool:
    """Whether there is anything that this user can get at, at the end of all links."""
    return os.path.exists(path)  # noqa: PTH110  as above


def seconds(text: str) -> float:
    """A duration that somebody gives.

    Raises:
        ValueError: it is none; the text says why.
    """
    return _number_of("seconds", text, MAX_SECONDS)


def grams(text: str) -> float:
    """Grams that somebody gives. Errors as of ``seconds``."""
    return _number_of("grams", text, MAX_GRAMS)


def _number_of(unit: str, text: str, at_most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= at_most:
        raise ValueError(f"{one_line(text, 60)!r} is no number of {unit} from 0 to {at_most:g}")
    return value


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "its name holds half of a character"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "it is a socket"
    return str(error.strerror) if isinstance(error, OSError) else str(error)


# Addresses and tokens of web servers, and links into Grafana ---------------------------------------------------------

SWEEP_DASHBOARD = "energysweep-sweep"
_MARGIN_SECONDS = 60.0  # what a scrape each minute has seen of the beginning and the end


def web_address(url: str, key: str) -> SplitResult:
    """The parts of an ``http`` or ``https`` address without user, query and fragment.

    Args:
        url: what a person gave.
        key: the option or variable that it came from.

    Raises:
        InputError: it is something else.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError if it is no number
    except ValueError:
        is_web = False
    if not is_web or parts.query or parts.fragment or not url.isprintable():
        raise InputError(f"{url!r} is no web address, such as https://example.org:3000", key=key)
    if parts.username is not None:
        raise InputError("leave user and password out of the address; a token says who you are", key=key)
    return parts


def is_token(text: str) -> bool:
    """Whether a header can carry it: printable ASCII, and not empty."""
    return bool(text) and text.isascii() and text.isprintable()


def redirected(url: str, target: str | None, key: str) -> InputError:
    """The error of a server that sends elsewhere: no token is taken there, and a login page is no answer.

    Args:
        url: what was asked.
        target: where it sends to, as it says.
        key: the option that ``url`` came from.
    """
    where = one_line(target or "") or "elsewhere"
    return InputError(f"{url} redirects to {where}; give the address that answers itself", key=key)


def sweep_link(grafana_url: str, run_id: str, begin: float, end: float) -> str:
    """Where Grafana shows a run on its dashboard *Sweep*.

    Args:
        grafana_url: the server's address.
        run_id: the run id.
        begin, end: Unix seconds.

    Raises:
        InputError: that is no web address.
    """
    web_address(grafana_url, "grafana")
    query = urlencode(
        {
            "var-sweep": run_id,
            "from": math.floor((begin - _MARGIN_SECONDS) * 1000),
            "to": math.ceil((end + _MARGIN_SECONDS) * 1000),
        },
        quote_via=quote,
    )
    return f"{grafana_url.rstrip('/')}/d/{SWEEP_DASHBOARD}?{query}"
