"""Where a C file can be broken by one small change, found in its text and not by a parser.

The tree's own layout is what makes that possible: a function's braces stand alone in column 0, one
statement a line. Nothing here runs anything.
"""
import hashlib
import re
from collections import Counter, namedtuple

from source import blank

# `start`, `end` and `new` say what to replace; the rest names the mutant in a way that survives an edit
# elsewhere in the file.
Mutant = namedtuple('Mutant', 'file function operator text line start end new')

FUNCTION = re.compile(r'^(?P<head>[A-Za-z_][^\n;{}#]*(?:\n[^\n;{}#]+)*)\n\{\n(?P<body>.*?)^\}', re.M | re.S)
COMPARE = re.compile(r'(?<![<>=!\-+*/&|^%])(<=|>=|==|!=|<|>)(?![<>=])')
SWAP = {'<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '=='}
NUMBER = re.compile(r'(?<![\w.])(0x[0-9a-fA-F]+|\d+)([uUlL]*)(?![\w.])')
STATEMENT = re.compile(r'^[ \t]+([*(\w][^;{}\n]*);[ \t]*$', re.M)
DECLARATION = re.compile(r'(?:const |static |struct |unsigned |enum )|\w+ +\**\w+(?:\[[^]]*\])?\s*(?:=[^=]|,|$)')
# What gives memory or files back to the host: no test of behaviour sees it missing.
RELEASE = re.compile(r'\b\w*(?:free|close|unmap)\w*\s*\(')
KEYWORD = re.compile(r'(?:return|break|continue|goto|if|else|for|while|do|switch|case|default|assert|_Static_assert'
                     r'|static_assert|va_start|va_end|va_list)\b')


def closing(text, at):
    """Index behind the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == '(') - (text[i] == ')')
        if depth == 0:
            return i + 1
    return None


def blank_asserts(text):
    """An assert speaks of the programmer: no input makes it fail, so no test sees it change."""
    for m in reversed(list(re.finditer(r'\b(?:assert|_Static_assert|static_assert)\s*\(', text))):
        end = closing(text, m.end() - 1)
        if end:
            text = text[:m.start()] + re.sub(r'[^\n]', ' ', text[m.start():end]) + text[end:]
    return text


def returns(head, name):
    """What a function's head says it returns: void, bool, int, number, pointer or other."""
    kind = head[:re.search(r'\b%s\s*\(' % name, head).start()]
    kind = re.sub(r'\b(?:static|inline|const|extern)\b|__attribute__\s*\(\(.*?\)\)', ' ', kind).strip()
    if '*' in kind:
        return 'pointer'
    if kind in ('void', 'bool', 'int'):
        return kind
    return 'number' if re.fullmatch(r'(?:u?int\d+|size|ssize|off|uintptr)_t|unsigned(?: \w+)?|long|char', kind) else 'other'


def whole_bodies(kind):
    return {'void': [''], 'bool': ['return false;', 'return true;'], 'int': ['return 0;', 'return -1;'],
            'number': ['return 0;'], 'pointer': ['return 0;']}.get(kind, [])


def other_returns(kind, value):
    if kind == 'bool':
        return {'true': ['false'], 'false': ['true']}.get(value, ['true', 'false'])
    if kind == 'int':
        return {'0': ['-1'], '-1': ['0']}.get(value, ['0'] if value.startswith('err_') else ['0', '-1'])
    if kind in ('number', 'pointer'):
        return [] if value in ('0', 'NULL') else ['0']
    return []


def in_function(text, head, name, start, end):
    """(operator, start, end, replacement) in the function whose blanked body is text[start:end]."""
    body = text[start:end]
    kind = returns(head, name)

    if RELEASE.search(name + '('):
        return
    for new in whole_bodies(kind):
        yield 'body %s' % (new or 'nothing'), start, end, '    %s\n' % new + '\n' * (body.count('\n') - 1)
    for m in re.finditer(r'\breturn\b[ \n]*([^;]*);', body):
        value = ' '.join(m.group(1).split())
        for new in other_returns(kind, value):
            if len(re.findall(r'\breturn\b', body)) > 1 or body.count(';') > 1:
                yield 'return %s' % new, start + m.start(), start + m.end(), 'return %s;' % new
        if kind == 'void':
            yield 'drop return', start + m.start(), start + m.end(), ';'
    for m in COMPARE.finditer(body):
        new = SWAP[m.group(1)]
        yield 'compare %s to %s' % (m.group(1), new), start + m.start(), start + m.end(), new
    for m in re.finditer(r'\bif \(', body):
        close = closing(body, m.end() - 1)
        if close:
            condition = (start + m.end(), start + close - 1)
            yield ('never if',) + condition + ('0 && (%s)',)
            yield ('negate if',) + condition + ('!(%s)',)
    for m in re.finditer(r'&&|\|\|', body):
        new = '||' if m.group(0) == '&&' else '&&'
        yield 'logic %s to %s' % (m.group(0), new), start + m.start(), start + m.end(), new
    for m in NUMBER.finditer(body):
        line = body[body.rfind('\n', 0, m.start()) + 1:m.start()]
        # A failure is a failure whatever its number; one item more of room is no mistake.
        if re.match(r'\s*(?:case\b|\w[\w ]*\[$|return -?$|.*\breturn -?$)', line) or 'alloc(' in line:
            continue
        new = str(int(m.group(1), 0) + 1) + m.group(2)
        yield 'constant %s to %s' % (m.group(0), new), start + m.start(), start + m.end(), new
    for m in STATEMENT.finditer(body):
        before = body[:m.start()].rstrip()
        s = m.group(1)
        if before and before[-1] not in ';{}:)' and not before.endswith('else'):
            continue
        if KEYWORD.match(s) or DECLARATION.match(s) or RELEASE.search(s) or not re.search(r'[=(]|\+\+|--', s):
            continue
        yield 'drop statement', start + m.start(1), start + m.end(), ';'


def mutants_of(path, source):
    """Every mutant of a file, in the order of its text."""
    text = blank_asserts(blank(source))
    seen = Counter()
    found = []
    for f in FUNCTION.finditer(text):
        head = re.sub(r'__attribute__\s*\(\(.*?\)\)', '', f.group('head'))
        name = re.search(r'(\w+)\s*\(', head)
        if not name:
            continue
        name = name.group(1)
        for operator, start, end, new in in_function(text, head, name, *f.span('body')):
            line_start = source.rfind('\n', 0, start) + 1
            line_end = source.find('\n', start)
            words = '' if operator.startswith('body') else ' '.join(source[line_start:line_end].split())
            if '%s' in new:
                new = new % source[start:end]
            key = '%s %s' % (operator, words)
            seen[(name, key)] += 1
            if seen[(name, key)] > 1:
                words += ' #%d' % seen[(name, key)]
            found.append(Mutant(path, name, operator, words, source.count('\n', 0, start) + 1, start, end, new))
    return found


def key(mutant):
    """How tests/unit/mutate-survivors calls it."""
    return ('%s:%s:%s %s' % (mutant.file, mutant.function, mutant.operator, mutant.text)).rstrip()


def sample(mutants, n, seed):
    """`n` of them, the same ones whenever text and seed are the same."""
    def rank(m):
        return hashlib.sha256(('%s %s' % (seed, key(m))).encode('utf-8', 'surrogateescape')).digest()
    return mutants if n == 0 or n >= len(mutants) else sorted(sorted(mutants, key=rank)[:n])
