#!/usr/bin/env python3
"""make mutate: do the unit tests notice when the code is wrong?

Breaks mem/, paging/ and boot/ in one small place at a time (mutants.py finds the places), builds what
that changes, and runs the unit tests that link the broken file until one fails. A mutant that no test
notices survived; tests/unit/mutate-survivors says why it may ("file:function:operator text | reason").
Ends with 1 when more than 10 % survive, one has no reason, or a test or source had to be left out.

Works in copies of the tree in memory, two at a time; nothing is written to the tree itself.
"""
import argparse
import fnmatch
import glob
import multiprocessing
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
sys.path[:0] = [os.path.join(TOP, 'tests', 'lint'), os.path.join(TOP, 'tests', 'unit')]

import mutants as M  # noqa: E402
from source import read  # noqa: E402

ROOMS = ('mem', 'paging', 'boot')
LEFT_OUT = ('boot/bare_none.c', 'boot/guest_i686_none.c', 'hv/counter_none.c', 'mem/heap.c')
COMPILE = ['gcc', '-std=c11', '-w', '-fPIC', '-I.', '-D_GNU_SOURCE', '-DVMM_FLAVOUR="mutate"',
           '-fno-strict-aliasing']
MEMORY_MAX = 3 << 30
SURVIVORS = 'tests/unit/mutate-survivors'


def run(command, cwd, **more):
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, **more)


class Tree:
    """A built copy of the tree: objects in obj/, the tests and libvmm.so in t/."""

    def __init__(self, root):
        self.root = root
        self.objects = {}  # source -> the files it is made from
        self.tests = {}    # test name -> the files its own source is made from
        self.closure = {}  # test name -> the sources whose objects it links
        self.seconds = {}  # test name -> how long it takes
        self.left_out = []

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def compile(self, source, level='-O0'):
        out = self.object_of(source)
        os.makedirs(os.path.dirname(self.path(out)), exist_ok=True)
        return run(COMPILE + [level, '-MMD', '-MF', out[:-2] + '.d', '-c', '-o', out, source], self.root)

    @staticmethod
    def object_of(source):
        return 'obj/' + source[:-2] + '.o'

    def made_from(self, source):
        words = read(self.path(self.object_of(source)[:-2] + '.d')).replace('\\\n', ' ').split(':', 1)[1].split()
        return {os.path.normpath(w) for w in words}

    def link_library(self):
        return run(['gcc', '-shared', '-o', 't/libvmm.so'] + [self.object_of(s) for s in sorted(self.objects)],
                   self.root)

    def link_test(self, name):
        return run(['gcc', '-o', 't/' + name, self.object_of('tests/unit/%s.c' % name), 't/libvmm.so',
                    '-Wl,-rpath,$ORIGIN', '-Wl,--unresolved-symbols=ignore-in-shared-libs'], self.root)

    def symbols(self, source):
        """(defined, wanted) by its object."""
        defined, wanted = set(), set()
        for line in run(['nm', '-P', self.object_of(source)], self.root).stdout.decode().splitlines():
            name, kind = line.split()[:2]
            if kind == 'U':
                wanted.add(name)
            elif kind.isupper():
                defined.add(name)
        return defined, wanted

    def build(self):
        """Compile everything; what does not compile is left out and named."""
        os.makedirs(self.path('t'), exist_ok=True)
        sources = sorted(f for room in ROOMS + ('hv',) for f in glob.glob(room + '/*.c', root_dir=self.root))
        tests = sorted(glob.glob('tests/unit/test_*.c', root_dir=self.root))
        with multiprocessing.pool.ThreadPool(2) as pool:
            # What stays as it is may take longer to compile and less to run.
            everything = [s for s in sources if s not in LEFT_OUT] + tests
            results = pool.map(lambda source: self.compile(source, '-O2'), everything)
        for source, result in zip(everything, results):
            if result.returncode != 0:
                self.left_out.append('%s does not compile' % source)
            elif source in tests:
                self.tests[os.path.basename(source)[:-2]] = self.made_from(source)
            else:
                self.objects[source] = self.made_from(source)
        result = self.link_library()
        if result.returncode != 0:
            raise SystemExit(result.stdout.decode())

        symbols = {s: self.symbols(s) for s in self.objects}
        definer = {name: s for s in sorted(symbols) for name in symbols[s][0]}
        for name in sorted(self.tests):
            reached, todo = set(), list(self.symbols('tests/unit/%s.c' % name)[1])
            while todo:
                source = definer.get(todo.pop())
                if source and source not in reached:
                    reached.add(source)
                    todo += symbols[source][1]
            self.closure[name] = reached

    def try_tests(self):
        """Each test must pass while nothing is broken; one that does not is left out and named."""
        for name in sorted(self.tests):
            start = time.monotonic()
            linked = self.link_test(name).returncode == 0
            if linked and run_test(self.root, name, 120) is None:
                self.seconds[name] = time.monotonic() - start
            else:
                self.left_out.append('%s %s' % (name, 'fails by itself' if linked else 'does not link'))

    def relevant(self, path):
        """Tests that a change of this file can reach: its own first, then those near it, then quick ones."""
        stem = os.path.basename(path).rsplit('.', 1)[0]

        def rank(name):
            return (name != 'test_' + stem, not stem.startswith(name[5:]) and not name[5:].startswith(stem),
                    path[:-2] + '.h' not in self.tests[name], self.seconds[name])

        reached = [n for n in self.seconds
                   if path in self.closure[n] or path in self.tests[n]
                   or any(path in self.objects[s] for s in self.closure[n])]
        return sorted(reached, key=rank)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    os.setpgid(0, 0)


def run_test(root, name, seconds):
    """None when it passes, else in one word how it failed; the first failed case ends it."""
    child = subprocess.Popen(['t/' + name], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL, preexec_fn=limits, env=dict(os.environ, TEST_SCALE='1'))
    end = time.monotonic() + seconds
    said, why, open_ = b'\n', None, True
    while open_ and why is None:
        if select.select([child.stdout], [], [], 0.05)[0]:
            more = os.read(child.stdout.fileno(), 65536)
            open_ = bool(more)
            said = said[-8:] + more
            if b'\nnot ok' in said:
                why = 'failed'
        if time.monotonic() > end:
            why = 'hung'
        elif memory_of(child.pid) > MEMORY_MAX:
            why = 'ate memory'
    if why is None:
        try:
            status = child.wait(max(0.1, end - time.monotonic()))
            why = 'failed' if status > 0 else 'died' if status < 0 else None
        except subprocess.TimeoutExpired:
            why = 'hung'
    # The group and not only the child: a broken test may leave children of its own behind.
    try:
        os.killpg(child.pid, 9)
    except OSError:
        pass
    child.stdout.close()
    child.wait()
    return why


def memory_of(pid):
    try:
        with open('/proc/%d/statm' % pid) as f:
            return int(f.read().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


class Worker:
    """One copy of the built tree, in which one mutant lives at a time."""

    tree = None

    @classmethod
    def start(cls, built, folder):
        root = tempfile.mkdtemp(dir=folder)
        shutil.copytree(built.root, root, symlinks=True, dirs_exist_ok=True)
        cls.tree = Tree(root)
        cls.tree.__dict__.update(built.__dict__, root=root)
        cls.whole = built

    @classmethod
    def restore(cls, paths):
        for p in paths:
            shutil.copy2(cls.whole.path(p), cls.tree.path(p))

    @classmethod
    def judge(cls, mutant):
        """(verdict, the test or reason): killed, survived, broken (does not compile) or equal."""
        tree, source = cls.tree, read(cls.whole.path(mutant.file))
        broken = source[:mutant.start] + mutant.new + source[mutant.end:]
        with open(tree.path(mutant.file), 'w', encoding='utf-8', errors='surrogateescape') as f:
            f.write(broken)
        changed = [mutant.file]
        try:
            return cls.judge_written(mutant, changed)
        finally:
            cls.restore(changed)

    @classmethod
    def judge_written(cls, mutant, changed):
        tree, path = cls.tree, mutant.file
        tests = tree.relevant(path)
        rebuild = [s for s in tree.objects if path in tree.objects[s]]
        own = tests[:1] if path.endswith('.h') and tests and path in tree.tests[tests[0]] else []
        # What a header defines is in its own test as well: most mutants end there, without a rebuild.
        for name in own:
            if not cls.remake_test(name, changed):
                return 'broken', ''
            how = cls.run(name)
            if how:
                return 'killed', '%s %s' % (name, how)
        for s in rebuild:
            changed.append(tree.object_of(s))
            if tree.compile(s, '-O0' if s == path else '-O1').returncode != 0:
                return 'broken', ''
        if rebuild:
            changed.append('t/libvmm.so')
            if tree.link_library().returncode != 0:
                return 'broken', ''
        for name in tests:
            if path in tree.tests[name] and name not in own and not cls.remake_test(name, changed):
                return 'broken', ''
            how = cls.run(name)
            if how:
                return 'killed', '%s %s' % (name, how)
        if path.endswith('.c') and mutant.operator != 'control' and cls.same_code(path):
            return 'equal', ''
        return 'survived', '' if tests else 'no unit test reaches it'

    @classmethod
    def remake_test(cls, name, changed):
        changed += [cls.tree.object_of('tests/unit/%s.c' % name), 't/' + name]
        return cls.tree.compile('tests/unit/%s.c' % name, '-O1').returncode == 0 and \
            cls.tree.link_test(name).returncode == 0

    @classmethod
    def run(cls, name):
        return run_test(cls.tree.root, name, 5 + 8 * cls.tree.seconds[name])

    @classmethod
    def same_code(cls, path):
        """Whether an optimising compiler makes the same of both: then there is nothing to notice."""
        made = []
        for tree in (cls.whole, cls.tree):
            out = cls.tree.path('same.s')
            if run(COMPILE + ['-O2', '-S', '-o', out, path], tree.root).returncode != 0:
                return False
            made.append(read(out))
        return made[0] == made[1]


def judge(mutant):
    return mutant, Worker.judge(mutant)


def read_reasons():
    reasons = {}
    for line in (read(SURVIVORS).split('\n') if os.path.exists(SURVIVORS) else []):
        if line and not line.startswith('#'):
            what, bar, why = line.rpartition(' | ')
            if not bar or not why.strip():
                raise SystemExit('%s: no reason: %s' % (SURVIVORS, line))
            reasons[what.strip()] = why.strip()
    return reasons


def report(results, reasons, everything):
    """The table and the survivors; True when that is good enough."""
    print('%-28s %8s %8s %9s %6s' % ('file', 'mutants', 'killed', 'survivors', '%'))
    rows = {}
    for mutant, (verdict, _) in results:
        row = rows.setdefault(mutant.file, [0, 0])
        if verdict in ('killed', 'survived'):
            row[verdict == 'survived'] += 1
    total = [sum(r[i] for r in rows.values()) for i in (0, 1)]
    for name, (killed, survived) in sorted(rows.items()) + [('all', total)]:
        n = killed + survived
        print('%-28s %8d %8d %9d %6s' % (name, n, killed, survived, '%.1f' % (100 * killed / n) if n else '-'))
    for verdict, words in (('broken', 'did not compile'), ('equal', 'changed no code')):
        print('%d more %s' % (sum(v == verdict for _, (v, _) in results), words))

    survivors = [(m, why) for m, (verdict, why) in results if verdict == 'survived']
    unexplained = [(m, why) for m, why in survivors if M.key(m) not in reasons]
    for m, why in survivors:
        if M.key(m) in reasons:
            print('%s:%d: %s: %s\n    explained: %s' % (m.file, m.line, m.operator, m.text, reasons[M.key(m)]))
    for m, why in unexplained:
        print('%s:%d: %s: %s\n    no reason in %s: %s%s' % (m.file, m.line, m.operator, m.text, SURVIVORS, M.key(m),
                                                          ' (%s)' % why if why else ''))
    known = {M.key(m) for m in everything}
    killed = {M.key(m) for m, (verdict, _) in results if verdict != 'survived'}
    for what in sorted(reasons):
        if what not in known or what in killed:
            print('%s: %s: %s' % (SURVIVORS, 'is noticed now' if what in known else 'is no mutant any more', what))
    share = 100 * total[1] / max(1, sum(total))
    print('%.1f %% survive (10 at most), %d without a reason' % (share, len(unexplained)))
    return sum(total) > 0 and share <= 10 and not unexplained


def main():
    p = argparse.ArgumentParser(description='mutation testing of mem, paging and boot')
    p.add_argument('--files', nargs='*', default=[], help='patterns of paths, such as "paging/*"')
    p.add_argument('--max', type=int, default=600, help='how many, chosen by hash (0: all)')
    p.add_argument('--seed', default='1', help='chooses another sample')
    p.add_argument('--jobs', type=int, default=2)
    p.add_argument('--list', action='store_true', help='print the mutants, run nothing')
    p.add_argument('--grep', default='', help='only mutants whose name matches this expression')
    p.add_argument('--verbose', action='store_true', help='say of each mutant what became of it')
    options = p.parse_args()
    os.chdir(TOP)

    paths = sorted(f for room in ROOMS for f in glob.glob(room + '/*.[ch]') if f not in LEFT_OUT)
    if options.files:
        paths = [f for f in paths if any(fnmatch.fnmatch(f, pattern) for pattern in options.files)]
    everything = [m for f in paths for m in M.mutants_of(f, read(f)) if re.search(options.grep, M.key(m))]
    chosen = M.sample(everything, options.max, options.seed)
    controls = [M.Mutant(f, '', 'control', '', 0, 0, 0, '') for f in sorted({m.file for m in chosen})]
    if options.list:
        for m in chosen:
            print('%s:%d: %s' % (m.file, m.line, M.key(m).split(':', 1)[1]))
        print('%d of %d mutants' % (len(chosen), len(everything)))
        return 0

    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    if memory is None:
        os.makedirs('build/mutate', exist_ok=True)
    folder = tempfile.mkdtemp(prefix='vmm-mutate.', dir=memory or 'build/mutate')
    start = time.monotonic()
    try:
        whole = Tree(os.path.join(folder, 'whole'))
        shutil.copytree(TOP, whole.root, symlinks=True,
                        ignore=lambda d, names: ('.git', 'build') if d == TOP else ())
        os.symlink(os.path.join(TOP, 'build'), whole.path('build'))  # a test may want a sample guest
        whole.build()
        whole.try_tests()
        results = []
        with multiprocessing.Pool(options.jobs, Worker.start, (whole, folder)) as pool:
            # A change that changes nothing: whatever "notices" it would notice every mutant.
            for control, result in pool.imap_unordered(judge, controls):
                if result[0] != 'survived':
                    raise SystemExit('%s: %s without a change: %s' % (control.file, *result))
            for mutant, result in pool.imap_unordered(judge, chosen):
                results.append((mutant, result))
                if options.verbose:
                    print('%s: %s %s' % (M.key(mutant), *result), flush=True)
                if len(results) % 50 == 0:
                    print('%d of %d' % (len(results), len(chosen)), file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results.sort(key=lambda r: r[0])
    good = report(results, read_reasons(), everything)
    for what in whole.left_out:
        print('left out, which is a failure: %s' % what)
        good = False
    print('%d of %d mutants in %d s' % (len(chosen), len(everything), time.monotonic() - start))
    return 0 if good else 1


if __name__ == '__main__':
    import multiprocessing.pool
    sys.exit(main())
