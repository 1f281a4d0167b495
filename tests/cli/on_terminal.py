#!/usr/bin/env python3
"""Run a command with a terminal, for the tests, and print what came to the terminal.

    on_terminal.py [--both] [--until TEXT] COMMAND...

The terminal is the command's standard error, with --both its standard output as well, which is thrown
away otherwise. An erased line is printed as <E>, the end of a line as a newline. Once TEXT has come, by
that, the command gets a SIGTERM. Ends with the command's status.
"""
import os
import pty
import signal
import subprocess
import sys


def main():
    words, both, until = sys.argv[1:], False, None
    while words[0].startswith('--'):
        if words[0] == '--both':
            both = True
        else:
            until = words.pop(1).encode()
        words.pop(0)
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=theirs if both else subprocess.DEVNULL,
                             stderr=theirs)
    os.close(theirs)
    seen = text = b''
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:
            break  # its last descriptor is closed
        if not got:
            break
        seen += got
        text = seen.replace(b'\r\033[K', b'<E>').replace(b'\r\n', b'\n')
        if until is not None and until in text:
            until = None
            child.send_signal(signal.SIGTERM)
    status = child.wait()
    sys.stdout.buffer.write(text)
    sys.exit(status if status >= 0 else 128 - status)


main()
