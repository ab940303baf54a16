"""What passes between a process and the sandbox that it started: lengths and bytes, and the limits that hold inside."""

import os
import struct
from dataclasses import dataclass
from typing import Final

LENGTH: Final = struct.Struct("<Q")


@dataclass(frozen=True)
class Limits:
    """What a method may use for one question.

    Attributes
    ----------
    memory : bytes, of all its processes together; and of address space beside the libraries', of each.
    disk : bytes in its working folder.
    files : open files of a process.
    processes : processes and threads, where it does not run as somebody who has others.
    seconds : processor time of a process.
    reply : bytes of a reply.
    uid : user that it runs as where it was started by root.
    """

    memory: int = 4 << 30
    disk: int = 256 << 20
    files: int = 256
    processes: int = 64
    seconds: float = 600
    reply: int = 4 << 20
    uid: int = 65520


def send(descriptor: int, *parts: bytes) -> None:
    """Write byte strings, each with its length before it.

    Raises
    ------
    BrokenPipeError
        Nobody reads them.
    """
    for part in parts:
        waiting = memoryview(LENGTH.pack(len(part)) + part)
        while waiting:
            waiting = waiting[os.write(descriptor, waiting) :]


def receive(descriptor: int, count: int, *, limit: int) -> list[bytes]:
    """Read so many byte strings.

    Raises
    ------
    EOFError
        There are fewer.
    ValueError
        One of them is longer than `limit`.
    """
    parts = []
    for _ in range(count):
        (length,) = LENGTH.unpack(_exactly(descriptor, LENGTH.size))
        if length > limit:
            raise ValueError(f"{length} bytes are more than {limit}")
        parts.append(_exactly(descriptor, length))
    return parts


def _exactly(descriptor: int, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        part = os.read(descriptor, min(length - len(content), 1 << 20))
        if not part:
            raise EOFError
        content += part
    return bytes(content)
