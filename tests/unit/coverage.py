#!/usr/bin/env python3
"""Judges gcov's output for coverage.sh: coverage.py GCOV-DIR EXCEPTIONS [-v]

Adds up what the objects say about each line of mem/ and paging/, prints a table, and fails when
paging/ is below its floors, when a line that is left has no reason, or a reason has no such line.
"""
import collections
import glob
import gzip
import json
import sys

ROOMS = ('mem/', 'paging/')
FLOORS = {'paging/': (95, 90)}


def collect(folder):
    """file -> line -> [times reached, [times each branch was taken]]"""
    files = collections.defaultdict(dict)
    for path in sorted(glob.glob(folder + '/*.gcov.json.gz')):
        with gzip.open(path) as packed:
            data = json.load(packed)
        for file in data['files']:
            if not file['file'].startswith(ROOMS):
                continue
            for line in file['lines']:
                count, branches = line['count'], [b['count'] for b in line['branches']]
                seen = files[file['file']].setdefault(line['line_number'], [0, branches and [0] * len(branches)])
                seen[0] += count
                if len(seen[1]) == len(branches):
                    seen[1] = [a + b for a, b in zip(seen[1], branches)]
    return files


def in_asserts(text):
    """The numbers of the lines that an assert is on."""
    numbers, inside = set(), False
    for number, line in enumerate(text, 1):
        inside = inside or line.lstrip().startswith('assert(')
        if inside:
            numbers.add(number)
        inside = inside and not line.rstrip().endswith(');')
    return numbers


def percent(part, whole):
    return 100 * part / whole if whole else 100


def main():
    files, verbose = collect(sys.argv[1]), '-v' in sys.argv[3:]
    reasons, used, left, bad = {}, set(), [], 0
    with open(sys.argv[2]) as lines:
        for line in lines:
            if line.strip() and not line.startswith('#'):
                where, _, reason = line.strip().rpartition(' | ')
                reasons[where] = reason
    rooms = {room: [0, 0, 0, 0] for room in ROOMS}
    for name in sorted(files):
        with open(name) as lines:
            text = lines.read().splitlines()
        sums, asserts = [0, 0, 0, 0], in_asserts(text)
        for number, (count, branches) in sorted(files[name].items()):
            if number in asserts:
                branches = []
            taken = sum(1 for b in branches if b)
            for i, n in enumerate((count != 0, 1, taken, len(branches))):
                sums[i] += n
            if (count == 0 or taken != len(branches)) and name.startswith(tuple(FLOORS)):
                where = '%s: %s' % (name, ' '.join(text[number - 1].split()))
                left.append((name, number, count, taken, len(branches), where))
        for i, n in enumerate(sums):
            rooms[name[:name.index('/') + 1]][i] += n
        print('%-22s %6.1f %% of %4d lines %6.1f %% of %4d branches' %
              (name, percent(*sums[:2]), sums[1], percent(*sums[2:]), sums[3]))
    for room, sums in rooms.items():
        lines, branches = percent(*sums[:2]), percent(*sums[2:])
        print('%-22s %6.1f %% of %4d lines %6.1f %% of %4d branches' % (room, lines, sums[1], branches, sums[3]))
        if room in FLOORS and (lines < FLOORS[room][0] or branches < FLOORS[room][1]):
            print('%s: below %d %% of lines or %d %% of branches' % ((room,) + FLOORS[room]))
            bad = 1
    for name, number, count, taken, n, where in left:
        if where in reasons:
            used.add(where)
        else:
            bad = 1
        if verbose or where not in reasons:
            what = 'not reached' if count == 0 else '%d of %d branches' % (taken, n)
            print('%s:%d: %s: %s' % (name, number, what, reasons.get(where, 'no reason given: ' + where)))
    for where in sorted(set(reasons) - used):
        print('%s: %s: there is no such line that is left' % (sys.argv[2], where))
        bad = 1
    print('%d lines of paging/ are left in whole or in part, each with a reason' % len(left) if not bad else 'failed')
    return bad


sys.exit(main())
