#!/usr/bin/env python3
"""Make the table and the JSON file of the benchmark from what its programs print (rows.h).

    report.py JSON GROUND=FILE...     GROUND: native, lab

A value is the median over the rounds, with the least and the greatest. A ratio is that of two samples
of the same round and case, and again the median over the rounds.
"""
import json
import os
import statistics
import sys


def read(path, ground, rows):
    """Add the file's rows, in its order; each has its cases in theirs."""
    found = {}
    with open(path, encoding='utf-8') as f:
        for line in f:
            fields = line.rstrip('\n').split('\t')
            if fields[0] == 'row' and len(fields) == 5:
                found[fields[1]] = {'ground': ground, 'id': fields[1],
                                    'base': None if fields[2] == '-' else fields[2],
                                    'unit': fields[3], 'text': fields[4], 'cases': {}, 'skipped': {}}
            elif fields[0] == 'sample' and len(fields) == 5:
                case = found[fields[1]]['cases'].setdefault(fields[2], {'samples': {}})
                case['samples'][int(fields[3])] = float(fields[4])
            elif fields[0] == 'skip' and len(fields) == 4:
                found[fields[1]]['skipped'][fields[2]] = fields[3]
    for row in found.values():
        for name, case in row['cases'].items():
            base = found[row['base']]['cases'].get(name) if row['base'] else None
            summarise(case, base)
    rows += found.values()


def summarise(case, base):
    values = list(case['samples'].values())
    case.update(median=statistics.median(values), min=min(values), max=max(values))
    ratios = [v / base['samples'][n] for n, v in case['samples'].items() if n in base['samples']] if base else []
    if ratios:
        case.update(ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios))


def number(ns, unit):
    value = ns / 1000 if unit == 'us' else ns
    return '%.*f' % (2 if value < 10 else 1 if value < 1000 else 0, value)


def lines_of(row):
    for name, case in row['cases'].items():
        shown = [number(case[k], row['unit']) for k in ('median', 'min', 'max')]
        ratio = '%.2fx (%.2f-%.2f)' % (case['ratio'], case['ratio_min'], case['ratio_max']) if 'ratio' in case else ''
        yield name, '%s %s' % (shown[0], row['unit']), '%s-%s' % tuple(shown[1:]), ratio
    for name, reason in row['skipped'].items():
        yield name, 'skipped', reason, ''


def print_row(row):
    against = ', against %s' % row['base'] if row['base'] else ''
    print('\n%s: %s%s' % (row['id'], row['text'], against))
    for line in lines_of(row):
        print(('  %-16s %16s  %-18s %s' % line).rstrip())


def host():
    cpu = ''
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            cpu = next((line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), '')
    return {'kernel': os.uname().release, 'cpu': cpu, 'cpus': os.cpu_count(), 'load': os.getloadavg()[0]}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rows, this = [], host()
    for word in sys.argv[2:]:
        ground, path = word.split('=', 1)
        read(path, ground, rows)
    print('%(cpu)s, %(cpus)d CPUs, Linux %(kernel)s, load %(load).1f' % this)
    for ground in dict.fromkeys(row['ground'] for row in rows):
        print('\n=== %s: median, least-greatest, ratio within a round ===' % ground)
        for row in rows:
            if row['ground'] == ground:
                print_row(row)
    for row in rows:
        for case in row['cases'].values():
            case['samples'] = list(case['samples'].values())
    with open(sys.argv[1] + '.tmp', 'w', encoding='utf-8') as f:
        json.dump({'version': 1, 'host': this, 'sample_unit': 'ns', 'rows': rows}, f, indent=1)
        f.write('\n')
    os.replace(sys.argv[1] + '.tmp', sys.argv[1])


main()
