"""Streams that a terminal may become."""

from __future__ import annotations

import io


class Gone(io.StringIO):
    """A pipe or a terminal whose other end has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(text)
