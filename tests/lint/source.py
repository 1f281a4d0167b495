"""C source as the lint rules see it: comments, strings and characters blanked, lines kept."""
import os
import re

TOKEN = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(text, strings=True):
    """The text with comments (and, if asked, the insides of literals) replaced by blanks."""
    def replace(match):
        s = match.group(0)
        if s[0] in '"\'':
            return s[0] + ' ' * (len(s) - 2) + s[-1] if strings else s
        return re.sub(r'[^\n]', ' ', s)
    return TOKEN.sub(replace, text)


def is_include(line):
    return re.match(r'\s*#\s*include\b', line)


def read(path):
    with open(path, encoding='utf-8', errors='surrogateescape') as f:
        return f.read()


def files(*endings):
    """Files of the tree below the current folder with these endings, without what is built."""
    found = []
    for folder, folders, names in os.walk('.'):
        folders[:] = sorted(f for f in folders if f not in ('.git', 'build', '__pycache__'))
        found += [os.path.relpath(os.path.join(folder, n), '.') for n in sorted(names) if n.endswith(endings)]
    return found


class Tap:
    """One case per rule; its diagnostics are the places that break it."""

    def __init__(self):
        self.n = self.failed = 0

    def case(self, name, wrong):
        self.n += 1
        self.failed += bool(wrong)
        for w in wrong:
            print('#', w)
        print('%sok %d - %s' % ('not ' if wrong else '', self.n, name))

    def skip(self, name, why):
        self.n += 1
        print('ok %d - %s # SKIP %s' % (self.n, name, why))

    def done(self):
        print('1..%d' % self.n)
        raise SystemExit(bool(self.failed))
