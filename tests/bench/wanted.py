"""What the benchmark should show, beside what it showed."""
import statistics

# What, the ground, at most or at least, how much, and two rows with their cases: the ratio of the first to
# the second; or one, for a value.
COW, GUEST_COW = 'cycle-host-cow', 'cycle-guest-cow'


def against_peers(pages, ways):
    return [('call + strict reset, cow host, against %s, %d pages' % (way, pages), 'lab', '>=', least,
             (way, 'i686 %d' % pages), (COW, 'i686 %d' % pages)) for way, least in ways]


def creation(ground, kind, pause, least):
    return ('create to first instruction against naive order, %s, %s' % (ground, pause.lstrip('-') or 'burst'), ground,
            '>=' if least else '', least, ('create-naive' + pause, kind), ('create' + pause, kind))


WANTED = [
    ('call + strict reset, cow host, against the oracle, 100 pages', 'lab', '<=', 1.25,
     (COW, 'i686 100'), ('oracle', 'i686 100')),
    ('call + strict reset, cow host, against the oracle, 1000 pages', 'lab', '<=', 1.10,
     (COW, 'i686 1000'), ('oracle', 'i686 1000')),
    ('the same natively, amd64, 100 pages', 'native', '<=', 1.6, (COW, 'amd64 100'), ('oracle', 'amd64 100')),
    ('the same natively, amd64, 1000 pages', 'native', '<=', 1.25, (COW, 'amd64 1000'), ('oracle', 'amd64 1000')),
    *against_peers(100, [('log', 10), ('ring', 10), ('dontneed', 20), ('remap', 20), ('copy', 60)]),
    *against_peers(1000, [('log', 10), ('ring', 10), ('dontneed', 20), ('remap', 20)]),
    ('guest-aided CoW, call + reset, against whole-scratch zeroing by DONTNEED, 100 pages', 'lab', '>=', 9,
     ('zero-scratch', 'i686 100'), (GUEST_COW, 'i686 100')),
    ('call + reset with 1 dirty page against a bare exit, natively, amd64', 'native', '<=', 3,
     (COW, 'amd64 1'), ('exit-raw', 'amd64')),
    creation('lab', 'i686', '', 2.5),
    creation('native', 'amd64', '', 1.4),
    creation('lab', 'i686', '-isolated', None),
    creation('native', 'amd64', '-isolated', None),
    ('pooled clone to the end of its first call against new VM + private mapping, burst', 'lab', '>=', 15,
     ('clone-new-vm', 'i686'), ('clone-pooled', 'i686')),
    ('null call round trip against a bare exit', 'lab', '<=', 1.20, ('call-lean', 'i686'), ('exit-raw', 'i686')),
    ('whole process, hello, against naive order (no CPUID table), native, amd64', 'native', '>=', 1.3,
     ('hello-naive-nocpuid', 'amd64'), ('hello', 'amd64')),
    ('first capture of a 64 MB guest that writes in place (identity) against memcpy', 'native', '>=', 50,
     ('memcpy-64m', 'i686-identity'), ('capture-64m', 'i686-identity')),
    ('the same of one that has written to all of its pages', 'native', '', None,
     ('memcpy-64m', 'i686-identity'), ('capture-64m-full', 'i686-identity')),
    ('the same once more, 100 pages later', 'native', '', None,
     ('memcpy-64m', 'i686-identity'), ('capture-64m-again', 'i686-identity')),
    ('first capture of a paged guest of 64 MB, which is packed, against memcpy', 'lab', '', None,
     ('memcpy-64m', 'i686'), ('capture-64m', 'i686')),
    ('live clones of a 64 MB snapshot: user memory per clone beyond its dirty pages, KB', 'lab', '<=', 64,
     ('clone-memory', 'i686')),
    ('binary, static, stripped, all features, KB', 'native', '<=', 200, ('binary', 'stripped')),
    ('RSS of a run, KB', 'native', '<=', 512, ('run-rss', 'amd64')),
]


def samples(rows, row, case):
    return rows.get(row, {}).get('cases', {}).get(case, {}).get('samples', {})


def figure(rows, first, second=None):
    """The median over the rounds of both, or None when there is no round of both."""
    above = samples(rows, *first)
    if second is None:
        values = list(above.values())
    else:
        below = samples(rows, *second)
        values = [above[n] / below[n] for n in above if n in below]
    return statistics.median(values) if values else None


def judge(grounds):
    results = []
    for what, ground, sense, limit, *rows in WANTED:
        got = figure(grounds.get(ground, {}), *rows)
        unit = 'x' if len(rows) == 2 else ''
        result = {'what': what, 'ground': ground, 'wanted': '%s %g%s' % (sense, limit, unit) if sense else 'beside',
                  'got': 'no row' if got is None else '%.2f%s' % (got, unit), 'value': got}
        if sense:
            met = got is not None and (got <= limit if sense == '<=' else got >= limit)
            result['verdict'] = 'met' if met else 'missed'
        else:
            result['verdict'] = '-'
        results.append(result)
    return results
