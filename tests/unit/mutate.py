#!/usr/bin/env python3
"""make mutate: do the unit tests notice when the code is wrong?

Breaks mem/, paging/ and boot/ in one small place at a time (mutants.py finds the places), builds what
that changes, and runs the unit tests that enter the broken function, as gcov says, until one fails. A
mutant that no test notices survived; tests/unit/mutate-survivors says why it may
("file:function:operator text | reason"). Ends with 1 when more than 10 % survive, one has no reason, or
a test or source had to be left out.

Works in copies of the tree in memory, two at a time; nothing is written to the tree itself.
"""
import argparse
import fnmatch
import glob
import json
import multiprocessing
import os
import re
import resource
import select
import shutil
import signal
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
        self.seconds = {}  # test name -> processor time it takes
        self.entered = {}  # (file, function) -> the tests that enter it
        self.left_out = []

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def compile(self, source, *options, folder='obj'):
        out = self.object_of(source, folder)
        os.makedirs(os.path.dirname(self.path(out)), exist_ok=True)
        return run(COMPILE + list(options) + ['-MMD', '-MF', out[:-2] + '.d', '-c', '-o', out, source], self.root)

    @staticmethod
    def object_of(source, folder='obj'):
        return folder + '/' + source[:-2] + '.o'

    def made_from(self, source):
        words = read(self.path(self.object_of(source)[:-2] + '.d')).replace('\\\n', ' ').split(':', 1)[1].split()
        return {os.path.normpath(w) for w in words}

    def link_library(self):
        return run(['gcc', '-shared', '-o', 't/libvmm.so'] + [self.object_of(s) for s in sorted(self.objects)],
                   self.root)

    def link_test(self, name):
        return run(['gcc', '-o', 't/' + name, self.object_of('tests/unit/%s.c' % name), 't/libvmm.so',
                    '-Wl,-rpath,$ORIGIN', '-Wl,--unresolved-symbols=ignore-in-shared-libs'], self.root)

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

    def try_tests(self):
        """Each test must pass while nothing is broken; one that does not is left out and named."""
        for name in sorted(self.tests):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            linked = self.link_test(name).returncode == 0
            if linked and run_test(self.root, name, 100) is None:
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                self.seconds[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            else:
                self.left_out.append('%s %s' % (name, 'fails by itself' if linked else 'does not link'))

    def trace_tests(self):
        """Note which functions each test enters, in a build without optimisation, as mutants get."""
        for source in sorted(self.objects):
            self.compile(source, '-O0', '--coverage', folder='cov')
        objects = [self.object_of(s, 'cov') for s in sorted(self.objects)]
        run(['ar', 'rcs', 'cov/libvmm.a'] + objects, self.root)
        for name in sorted(self.seconds):
            source = 'tests/unit/%s.c' % name
            self.compile(source, '-O0', '--coverage', folder='cov')
            run(['gcc', '--coverage', '-o', 't/traced', self.object_of(source, 'cov'), 'cov/libvmm.a'], self.root)
            if run_test(self.root, 'traced', 5 * self.seconds[name] + 100) is not None:
                self.left_out.append('%s fails without optimisation' % name)
                del self.seconds[name]
                continue
            counts = glob.glob('cov/**/*.gcda', root_dir=self.root, recursive=True)
            for line in run(['gcov', '--json-format', '--stdout'] + counts, self.root).stdout.splitlines():
                for file in json.loads(line)['files'] if line.startswith(b'{') else []:
                    for f in file['functions']:
                        if f['execution_count']:
                            place = (os.path.normpath(file['file']), f['name'])
                            self.entered.setdefault(place, set()).add(name)
            for path in counts:
                os.remove(self.path(path))

    def relevant(self, mutant, noticed):
        """Tests that a mutant can fail, those first that are likely to in little time. `noticed`: how often a
        test failed for a mutant of that file."""
        stem = os.path.basename(mutant.file).rsplit('.', 1)[0]

        def worth(name):
            near = 3 if name == 'test_' + stem else 0.5 if stem.startswith(name[5:]) or name[5:].startswith(stem) else 0
            return (noticed.get(name, 0) + near + 0.1) / max(self.seconds[name], 0.02)

        reached = self.entered.get((mutant.file, mutant.function), ())
        return sorted((n for n in reached if n in self.seconds), key=worth, reverse=True)


def run_test(root, name, seconds):
    """None when it passes, else in one word how it failed; the first failed case ends it."""
    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
        os.setpgid(0, 0)

    child = subprocess.Popen(['t/' + name], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL, preexec_fn=limits, env=dict(os.environ, TEST_SCALE='1'))
    # Processor time ends what loops; this is for what waits.
    seconds = seconds * 8 + 30
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
            why = 'hung' if status in (-signal.SIGXCPU, -signal.SIGKILL) else \
                'failed' if status > 0 else 'died' if status < 0 else None
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
    noticed = {}  # file -> test -> how many of its mutants it noticed
    code = {}     # file -> what an optimising compiler makes of it

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
        noticed = cls.noticed.setdefault(path, {})
        tests = tree.relevant(mutant, noticed)

        def killed(name, how):
            noticed[name] = noticed.get(name, 0) + 1
            return 'killed', '%s %s' % (name, how)

        # What a header defines is in the tests as well: most mutants end there, without a rebuild.
        own = [name for name in tests if path.endswith('.h') and path in tree.tests[name]][:1]
        for name in own:
            if not cls.remake_test(name, changed):
                return 'broken', ''
            how = cls.run(name)
            if how:
                return killed(name, how)
        for s in [s for s in tree.objects if path in tree.objects[s]]:
            changed.append(tree.object_of(s))
            if tree.compile(s, '-O0').returncode != 0:
                return 'broken', ''
        if changed[1:]:
            changed.append('t/libvmm.so')
            if tree.link_library().returncode != 0:
                return 'broken', ''
        slow = 0
        for name in tests:
            slow += tree.seconds[name]
            if slow > 1 and path.endswith('.c') and cls.same_code(path):
                return 'equal', ''
            if path in tree.tests[name] and name not in own and not cls.remake_test(name, changed):
                return 'broken', ''
            how = cls.run(name)
            if how:
                return killed(name, how)
        if path.endswith('.c') and cls.same_code(path):
            return 'equal', ''
        return 'survived', '' if tests else 'no unit test reaches it'

    @classmethod
    def remake_test(cls, name, changed):
        changed += [cls.tree.object_of('tests/unit/%s.c' % name), 't/' + name]
        return cls.tree.compile('tests/unit/%s.c' % name, '-O0').returncode == 0 and \
            cls.tree.link_test(name).returncode == 0

    @classmethod
    def run(cls, name):
        return run_test(cls.tree.root, name, 2 + 5 * cls.tree.seconds[name])

    @classmethod
    def same_code(cls, path):
        """Whether an optimising compiler makes the same of both: then there is nothing to notice."""
        if path not in cls.code:
            cls.code[path] = cls.code_of(cls.whole, path)
        return cls.code[path] is not None and cls.code[path] == cls.code_of(cls.tree, path)

    @classmethod
    def code_of(cls, tree, path):
        out = cls.tree.path('same.s')
        return read(out) if run(COMPILE + ['-O2', '-S', '-o', out, path], tree.root).returncode == 0 else None


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
    print('%d mutants, %d killed, %d survive: %.1f %% (10 at most), %d without a reason' %
          (sum(total), total[0], total[1], share, len(unexplained)))
    return sum(total) > 0 and share <= 10 and not unexplained


def main():
    p = argparse.ArgumentParser(description='mutation testing of mem, paging and boot')
    p.add_argument('--files', nargs='*', default=[], help='patterns of paths, such as "paging/*"')
    p.add_argument('--max', type=int, default=0, help='how many, chosen by hash (0: all)')
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
    if options.list:
        for m in chosen:
            print('%s:%d: %s' % (m.file, m.line, M.key(m).split(':', 1)[1]))
        print('%d of %d mutants' % (len(chosen), len(everything)))
        return 0

    os.nice(19 - os.nice(0))
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
        whole.trace_tests()
        print('%d tests in %d s' % (len(whole.seconds), time.monotonic() - start), file=sys.stderr, flush=True)
        results = []
        with multiprocessing.Pool(options.jobs, Worker.start, (whole, folder)) as pool:
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
