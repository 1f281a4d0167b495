#!/usr/bin/env python3
"""Rules about the text of the tree. Prints TAP about the tree it is run in.

Places that may break a rule stand in tests/lint/exceptions, with the reason; one that no longer
breaks it must leave the list.
"""
import os
import re
import subprocess

from source import Tap, blank, files, is_include, read

LINES_MAX = 600
PROGRAM = ('mem', 'paging', 'boot', 'hv')
CONDITIONAL = re.compile(r'\s*#\s*(?:if|ifdef|ifndef|elif)\b(.*)')
FEATURE = re.compile(r'\b(?:I686_GUEST|GUEST_COUNTER)\b')
# Ends of the process, and words to the user, by any of their usual names. Preprocessor lines count too.
ENDS = re.compile(r'(?<![\w.>])(?:exit|_exit|_Exit|quick_exit|exit_group|abort)\s*\(')
SPEAKS = re.compile(r'\bstderr\b|\bSTDERR_FILENO\b|(?<![\w.>])(?:perror|v?warnx?|v?errx?|error|psignal|v?syslog)\s*\('
                    r'|(?<![\w.>])(?:write|v?dprintf)\s*\(\s*2\s*,')
# Each brings kilobytes of the C library into a binary that has little room; what there is instead.
HEAVY = (
    (re.compile(r'(?<![\w.>])(?:v?[fd]?printf|v?as?printf|v?sn?printf|f?puts|putchar|f(?:open|dopen|write|read)|getline)'
                r'\s*\('), 'mem/format.h, hv/text.h and hv/file.h'),
    (re.compile(r'(?<![\w.>])(?:strto(?:u?ll?|[uio]max|l?d|f)|ato(?:ll?|[if])|v?[fs]?scanf)\s*\('),
     'hv/args.h, hv/value.h and hv/decimal.h'),
    (re.compile(r'^\s*#\s*include\s*<assert\.h>'), 'mem/assert.h'),
    (re.compile(r'(?<![\w.>])getopt\w*\s*\('), 'parse_options of vmm.c'),
    (re.compile(r'(?<![\w.>])timer_\w+\s*\('), 'hv/ktimer.h'),
    (re.compile(r'(?<![\w.>])(?:fork|posix_spawn\w*)\s*\('), '_Fork and vfork: there are no threads'),
    (re.compile(r'(?<![\w.>])(?:strtok(?:_r)?|strc?spn|strpbrk)\s*\('), 'strchrnul, or a loop'),
    (re.compile(r'(?<![\w.>])(?:raise|abort)\s*\('), 'kill of the process itself'),
    (re.compile(r'(?<![\w.>])mko?s?temps?\s*\('), 'hv/save.h'),
    (re.compile(r'(?<![\w.>])pthread_\w+\s*\('), 'nothing'),
)
# In pieces, or this file would be its own finding.
UNFINISHED = re.compile(r'\b(?:%s)\b' % '|'.join(('TO' 'DO', 'FIX' 'ME', 'XX' 'X', 'HA' 'CK')))
TEXT = ('.c', '.h', '.S', '.sh', '.py', '.md', '.mk', '.ld', '.awk', 'Makefile', 'run', 'catalogue')


class Exceptions:
    def __init__(self, path):
        self.path, self.rows, self.bad, self.used = path, [], [], set()
        for n, line in enumerate(read(path).split('\n') if os.path.exists(path) else [], 1):
            if not line or line.startswith('#'):
                continue
            fields = [f.strip() for f in line.split(' | ')]
            if len(fields) != 4 or not all(fields):
                self.bad.append('%s:%d: not "rule | file | text | reason"' % (path, n))
                continue
            self.rows.append((n, fields[0], fields[1], '' if fields[2] == '""' else fields[2]))

    def allow(self, rule, path, line):
        for n, r, p, text in self.rows:
            if r == rule and p == path and text in line:
                self.used.add(n)
                return True
        return False

    def unused(self):
        return ['%s:%d: breaks nothing any more' % (self.path, row[0]) for row in self.rows
                if row[0] not in self.used]


def guards(path):
    """The names a header's guard may have: all folders, the first or the last one (headers.sh judges it)."""
    folders = path.split('/')
    return {re.sub(r'[^A-Z0-9]', '_', p.upper()) for p in
            (path, '/'.join(folders[-2:]), folders[0] + '/' + folders[-1])}


def find(pattern, paths, rule, allowed):
    wrong = []
    for path in paths:
        for n, line in enumerate(blank(read(path)).split('\n'), 1):
            if pattern.search(line) and not is_include(line) and not allowed.allow(rule, path, line):
                wrong.append('%s:%d: %s' % (path, n, line.strip()))
    return wrong


def check_conditionals(paths, allowed):
    wrong = []
    for path in paths:
        for n, line in enumerate(blank(read(path)).split('\n'), 1):
            m = CONDITIONAL.match(line)
            if not m:
                continue
            words = m.group(1).split()
            if path.endswith('.h') and line.lstrip('# ').startswith('ifndef') and words[0] in guards(path):
                continue
            if words and words[0] in ('__ASSEMBLER__', '!defined(__ASSEMBLER__)', 'defined(__ASSEMBLER__)'):
                continue
            if not allowed.allow('conditional', path, line):
                wrong.append('%s:%d: %s' % (path, n, line.strip()))
    return wrong


def check_heavy(paths):
    wrong = []
    for path in paths:
        for n, line in enumerate(blank(read(path)).split('\n'), 1):
            wrong += ['%s:%d: %s (there is: %s)' % (path, n, line.strip(), instead)
                      for pattern, instead in HEAVY if pattern.search(line)]
    return wrong


def check_readme_targets():
    """What README says after "make", as long as it is a word in code, must be a target."""
    said = set()
    text = read('README.md')
    code = re.findall(r'```.*?```', text, re.DOTALL)
    code += re.findall(r'`[^`\n]+`', re.sub(r'```.*?```', '', text, flags=re.DOTALL))
    for piece in code:
        for words in re.findall(r'\bmake((?:[ \t]+[-\w=,./]+)+)', re.sub(r'#[^\n]*', '', piece)):
            said.update(w for w in words.split() if re.fullmatch(r'[a-z][\w./-]*', w))
    data = subprocess.run(['make', '-pnq', '--no-print-directory'], capture_output=True, text=True).stdout
    known = set(re.findall(r'^([\w./-]+):(?!=)', data, re.MULTILINE))
    return ['README.md: make %s: there is no such target' % w for w in sorted(said - known)]


def main():
    tap = Tap()
    allowed = Exceptions('tests/lint/exceptions')
    code = files('.c', '.h', '.S')
    program = [f for f in code if f.split('/')[0] in PROGRAM]
    everything = [f for f in files(*TEXT)]

    tap.case('there is a program to check', [] if program else ['no file in ' + ' '.join(PROGRAM)])
    tap.case('no source asks a conditional of the preprocessor', check_conditionals(code, allowed))
    tap.case('no source names a feature switch outside of text', find(FEATURE, code, 'feature', allowed))
    tap.case('only vmm.c ends the process', find(ENDS, program, 'exit', allowed))
    tap.case('only vmm.c speaks to the user', find(SPEAKS, program, 'speak', allowed))

    tap.case('the program leaves the large parts of the C library out',
             check_heavy(program + [f for f in code if f == 'vmm.c']))

    wrong = []
    for path in everything:
        for n, line in enumerate(read(path).split('\n'), 1):
            if UNFINISHED.search(line) and not allowed.allow('unfinished', path, line):
                wrong.append('%s:%d: %s' % (path, n, line.strip()))
    tap.case('nothing is left unfinished in a comment', wrong)

    wrong = []
    for path in files('.c', '.h', '.S', '.sh', '.py'):
        n = read(path).count('\n')
        if n > LINES_MAX and not allowed.allow('length', path, ''):
            wrong.append('%s: %d lines, %d at most' % (path, n, LINES_MAX))
    tap.case('no file is too long', wrong)

    other = files('.cc', '.cpp', '.cxx', '.hpp', '.hh', '.rs', '.go', '.zig')
    other += find(re.compile(r'\b__cplusplus\b'), code, 'c-only', allowed)
    tap.case('the program is C and nothing else', other)

    wrong = ['%s: not executable' % f for f in files('.sh', '.py')
             if read(f).startswith('#!') and not os.access(f, os.X_OK)]
    tap.case('every script can be run', wrong)

    if os.path.exists('README.md'):
        tap.case('every make target that README.md names exists', check_readme_targets())
    else:
        tap.skip('every make target that README.md names exists', 'there is no README.md yet')
    tap.case('every exception is needed and has a reason', allowed.bad + allowed.unused())
    tap.done()


main()
