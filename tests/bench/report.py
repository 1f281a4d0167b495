#!/usr/bin/env python3
"""Make tables, plots and the JSON file of the benchmark from what its programs print (rows.h).

    report.py JSON GROUND=FILE...     GROUND: native, lab

A value is the median over the rounds, with the least and the greatest. A ratio is that of two samples
of the same round, and again the median over the rounds. Beside JSON goes GROUND.svg: time against dirty
pages, and creation step by step. Last comes what is wanted (wanted.py) beside what was measured; a figure
that is missing counts as missed. Status 1 when a record says that wrong work was done.
"""
import json
import os
import statistics
import sys

import plot
import wanted


def read(path, ground):
    """The file's rows by their names, in its order; each has its cases in theirs."""
    found = {}
    with open(path, encoding='utf-8') as f:
        for line in f:
            fields = line.rstrip('\n').split('\t')
            if fields[0] == 'row' and len(fields) == 5:
                found[fields[1]] = {'ground': ground, 'id': fields[1],
                                    'base': None if fields[2] == '-' else fields[2],
                                    'unit': fields[3], 'text': fields[4], 'cases': {}, 'skipped': {}, 'failed': {}}
            elif fields[0] == 'sample' and len(fields) == 5:
                samples = case_of(found, fields)['samples']
                samples[int(fields[3])] = min(float(fields[4]), samples.get(int(fields[3]), float('inf')))
            elif fields[0] == 'part' and len(fields) == 6:
                case_of(found, fields)['parts'].setdefault(fields[5], []).append(float(fields[4]))
            elif fields[0] in ('skip', 'fail') and len(fields) == 4:
                found[fields[1]]['skipped' if fields[0] == 'skip' else 'failed'][fields[2]] = fields[3]
    for row in found.values():
        row['cases'] = {name: case for name, case in row['cases'].items()
                        if case['samples'] and name not in row['failed']}
        for name, case in row['cases'].items():
            summarise(case, found.get(row['base'], {}).get('cases', {}).get(name))
    return found


def case_of(found, fields):
    return found[fields[1]]['cases'].setdefault(fields[2], {'samples': {}, 'parts': {}})


def summarise(case, base):
    values = list(case['samples'].values())
    case.update(median=statistics.median(values), min=min(values), max=max(values))
    case['parts'] = {step: statistics.median(ns) for step, ns in case['parts'].items()}
    ratios = [v / base['samples'][n] for n, v in case['samples'].items() if n in base['samples']] if base else []
    if ratios:
        case.update(ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios))


def number(value, unit):
    if unit == 'us':
        value /= 1000
    return '%.*f' % (2 if value < 10 else 1 if value < 1000 else 0, value)


def lines_of(row):
    for name, case in row['cases'].items():
        shown = [number(case[k], row['unit']) for k in ('median', 'min', 'max')]
        ratio = '%.2fx (%.2f-%.2f)' % (case['ratio'], case['ratio_min'], case['ratio_max']) if 'ratio' in case else ''
        yield name, '%s %s' % (shown[0], row['unit']), '%s-%s' % tuple(shown[1:]), ratio
        if case['parts']:
            yield '', '', ', '.join('%s %s' % (s, number(ns, 'us')) for s, ns in case['parts'].items()), ''
    for name, reason in row['skipped'].items():
        yield name, 'skipped', reason, ''
    for name, reason in row['failed'].items():
        yield name, 'FAIL', reason, ''


def print_row(row):
    against = ', against %s' % row['base'] if row['base'] else ''
    print('\n%s: %s%s' % (row['id'], row['text'], against))
    for line in lines_of(row):
        print(('  %-18s %16s  %-18s %s' % line).rstrip())


def print_cycles(rows):
    """All that is measured against dirty pages, a line for each way, a column for each number."""
    ways, columns = {}, {}
    for row in rows.values():
        for name, case in row['cases'].items():
            kind, _, pages = name.partition(' ')
            if pages.isdigit():
                ways.setdefault(kind, {}).setdefault(row['id'], {})[int(pages)] = case['median']
                columns.setdefault(kind, set()).add(int(pages))
    for kind, lines in ways.items():
        print('\nrun and reset, %s, us by pages written of 64 MB:' % kind)
        pages = sorted(columns[kind])
        print('  %-18s' % '' + ''.join('%12d' % p for p in pages))
        for way, values in lines.items():
            print('  %-18s' % way + ''.join('%12s' % (number(values[p], 'us') if p in values else '-') for p in pages))


def print_wanted(grounds):
    print('\n=== what is wanted, ratios within a round ===\n')
    results = wanted.judge(grounds)
    for result in results:
        print('  %-84s %10s %10s  %s' % (result['what'], result['wanted'], result['got'], result['verdict']))
    met = sum(result['verdict'] == 'met' for result in results)
    print('\n%d met, %d missed' % (met, len(results) - met))
    return results


def host():
    cpu = ''
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            cpu = next((line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), '')
    return {'kernel': os.uname().release, 'cpu': cpu, 'cpus': os.cpu_count(), 'load': os.getloadavg()[0]}


def write(path, text):
    with open(path + '.tmp', 'w', encoding='utf-8') as f:
        f.write(text)
    os.replace(path + '.tmp', path)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    grounds, this = {}, host()
    for word in sys.argv[2:]:
        ground, path = word.split('=', 1)
        grounds[ground] = read(path, ground)
    print('%(cpu)s, %(cpus)d CPUs, Linux %(kernel)s, load %(load).1f' % this)
    for ground, rows in grounds.items():
        print('\n=== %s: median, least-greatest, ratio within a round ===' % ground)
        for row in rows.values():
            print_row(row)
        print_cycles(rows)
        write(os.path.join(os.path.dirname(sys.argv[1]), ground + '.svg'), plot.draw(ground, rows))
    results = print_wanted(grounds)
    rows = [row for found in grounds.values() for row in found.values()]
    for row in rows:
        for case in row['cases'].values():
            case['samples'] = list(case['samples'].values())
    write(sys.argv[1], json.dumps({'version': 2, 'host': this, 'sample_unit': 'ns, KB where the unit is',
                                   'rows': rows, 'wanted': results}, indent=1) + '\n')
    failed = ['%s: %s: %s: %s' % (row['ground'], row['id'], name, reason)
              for row in rows for name, reason in row['failed'].items()]
    for line in failed:
        print('FAIL %s' % line)
    sys.exit(1 if failed else 0)


main()
