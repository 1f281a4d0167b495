#!/usr/bin/env python3
"""The floors: vmm.c -> hv -> boot -> paging -> mem -> libc. Prints TAP about the tree it is run in."""
import os
import re
import subprocess

from source import Tap, blank, files, read

FLOORS = {'mem': 1, 'paging': 2, 'boot': 3, 'hv': 4, 'vmm.c': 5}
# What a guest shares with the host, and nothing else of the host's.
GUEST_MAY_SEE = re.compile(r'guest-samples/|mem/(guest_abi|bytes|iostack|message|message_\w+)\.h$')
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]*)[>"]')


def room(path):
    return path.split('/')[0]


def includes(path):
    """(line number, kind, name) of each include."""
    for n, line in enumerate(blank(read(path), strings=False).split('\n'), 1):
        m = INCLUDE.match(line)
        if m:
            yield n, m.group(1), m.group(2)
        elif re.match(r'\s*#\s*include', line):
            yield n, '?', line.strip()


def circles(edges):
    """What tsort says of the pairs (user, used); nothing when they have an order."""
    pairs = ''.join('%s %s\n' % e for e in sorted(edges) if e[0] != e[1])
    sort = subprocess.run(['tsort'], input=pairs, capture_output=True, text=True)
    return sort.stderr.splitlines() if sort.returncode else []


def main():
    tap = Tap()
    sources = [f for f in files('.c', '.h', '.S') if not f.startswith('tests/planted/')]
    up, unrooted, strange, own, kvm = [], [], [], [], []
    headers, modules = set(), set()
    for path in sources:
        floor = FLOORS.get(room(path))
        first = None
        for n, kind, name in includes(path):
            place = '%s:%d' % (path, n)
            first = first or name
            if kind == '<':
                if name == 'linux/kvm.h' and floor and not re.match(r'hv/kvm\w*\.[ch]$', path):
                    kvm.append('%s: only hv/kvm*.c and .h include <linux/kvm.h>' % place)
                continue
            if kind == '?':
                unrooted.append('%s: %s: neither "..." nor <...>' % (place, name))
                continue
            if not os.path.exists(name) or name != os.path.normpath(name):
                unrooted.append('%s: "%s" is not the path of a file from the top' % (place, name))
                continue
            target = FLOORS.get(room(name))
            if floor and (target is None or target > floor):
                up.append('%s: %s must not include %s' % (place, room(path), name))
            if path.startswith('guest-samples/') and not GUEST_MAY_SEE.match(name):
                strange.append('%s: a guest must not include %s' % (place, name))
            if floor and path.endswith('.h'):
                headers.add((path, name))
            elif floor:
                modules.add((path[:-2], name[:-2]))
        header = re.sub(r'\.c$', '.h', path)
        if path.endswith('.c') and floor and os.path.exists(header) and first != header:
            own.append('%s: the first include is %s, not its own header' % (path, first))

    tap.case('a room of the program exists', [] if modules else ['no include between two files was found'])
    tap.case('no file includes a floor above its own', up)
    tap.case('no headers include each other in a circle', circles(headers))
    tap.case('no two .c files use each other', circles(modules))
    tap.case('every include is written from the top of the tree', unrooted)
    tap.case('every file includes its own header first', own)
    tap.case('only hv/kvm includes <linux/kvm.h>', kvm)
    tap.case('guests include only what they share with the host', strange)
    tap.done()


main()
