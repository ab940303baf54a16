"""Hostile methods, each with what it must come to; and what the sandbox must not change for honest ones."""

import ast
import ctypes.util
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import mdbench
from mdbench.cases.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.methods import confinement as confinement_module
from mdbench.methods import syscalls, trial
from mdbench.methods.box import Box
from mdbench.methods.confinement import _hidden, confinement
from mdbench.methods.method import MethodError, find_method, load_method, named_methods
from mdbench.methods.replies import Answer
from mdbench.methods.sandbox import Sandbox, _Source
from mdbench.methods.trial import ask
from mdbench.methods.warned import MOST, TEXT, MethodWarning
from mdbench.methods.wire import Limits
from mdbench.methods.workers import Order
from mdbench.scoring.evaluation import evaluate, evaluated, pose
from mdbench.tables.dataset import bundled_zoos

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not here: nothing was isolated")

CASE = load_cases("mnist1d-cnn/optimizer/cross-noise/20")[0].model_copy(update={"seeds": (42, 90)})
LIMITS = Limits(memory=1 << 30, disk=16 << 20)

#: What methods do before they answer like everybody: the body of fit.
FRAME = """
import ctypes, os, signal, socket, sys, time
import numpy as np

class Found(Exception):
    pass

columns = ["train_error"]

class Hostile:
    def fit(self, models, labels, task):
        self.verdict = labels.mode()[0]
{fit}

    def predict(self, models):
{predict}
        return [self.verdict] * len(models)
"""


def written(fit: str = "", predict: str = "") -> str:
    def indented(text: str) -> str:
        return "\n".join(" " * 8 + line for line in text.strip("\n").splitlines())

    return FRAME.format(fit=indented(fit), predict=indented(predict))


@pytest.fixture(scope="module")
def posed():
    return pose([CASE])[0][0]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(1, 30, LIMITS) as running:
        yield running


@pytest.fixture
def outcome(sandbox, posed, tmp_path):
    """Run the text of a method file, and return its answer or the reason why there is none."""

    def run(text: str, using=None) -> Answer | str:
        file = tmp_path / "hostile.py"
        file.write_text(text)
        running = using or sandbox
        ((_, method),) = running.load([file])
        if isinstance(method, MethodError):
            return str(method)
        ((_, said),) = running.ask([Order(method, posed.rows)])
        return str(said) if isinstance(said, MethodError) else said

    return run


def majority(posed) -> np.ndarray:
    """What the frame answers when nothing happens: the verdict that occurs most among each seed's training rows."""
    labels = [posed.rows.train.codes[sample] for sample in posed.rows.samples]
    return np.array([[np.bincount(sample).argmax()] * len(posed.rows.test) for sample in labels])


# What it did was refused to it, which it reports: an exception of its own.
REFUSED = {
    "reads the labels by their path": (
        f"open({str(bundled_zoos() / 'mnist1d-cnn' / 'configurations.parquet')!r}, 'rb').read()",
        "it raised FileNotFoundError",
    ),
    "loads the test zoo": (
        "import mdbench; mdbench.load_zoo('mnist1d-cnn')",
        "it raised MdbenchError: zoo 'mnist1d-cnn' is not",
    ),
    "fills the disk": (
        "for number in range(99):\n    with open(f'{number}', 'wb') as file:\n        file.write(b'x' * 2**20)",
        r"it raised OSError: \[Errno 28\]",
    ),
    "writes a file that is too large": ("open('x', 'wb').write(b'x' * 2**25)", r"it raised OSError: \[Errno 2[78]\]"),
    "fills the memory": (
        "kept = []\nwhile True:\n    kept.append(np.ones(2**24))",
        "it raised (_Array)?MemoryError|it used more than 1 GiB",
    ),
    "fills the memory of many processes": (
        "for _ in range(5):\n    if not os.fork():\n        kept = np.ones(2**25)\n        time.sleep(60)\ntime.sleep(60)",
        "it used more than 1 GiB of memory",
    ),
    "fills memory that is nobody's": (
        "kept = []\nwhile True:\n    kept.append(os.memfd_create('x'))\n    os.write(kept[-1], bytes(15 * 2**20))",
        r"it used more than 1 GiB|it raised OSError: \[Errno 24\]",
    ),
    "becomes root": ("os.setuid(0)", r"it raised (PermissionError|OSError: \[Errno 22\])"),
    "starts threads without end": (
        "import threading\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        "it raised RuntimeError",
    ),
    "forks without end": ("while True:\n    os.fork()", "it raised BlockingIOError|it took longer"),
    "exits silently": ("os._exit(0)", "it replied nothing"),
    "exits with a code": ("os._exit(7)", r"it ended its process \(exit code 7\)"),
    "crashes": ("ctypes.string_at(0)", "its process was ended by SIGSEGV"),
    "kills everything": (
        "os.kill(1, signal.SIGKILL); os.kill(-1, signal.SIGKILL); os._exit(3)",
        "it raised ProcessLookupError|exit code 3|SIGKILL",
    ),
    "answers with a gigabyte": (
        "Hostile.predict = lambda self, models: np.zeros(2**27)",
        "it predicted 134217728 labels|MemoryError",
    ),
    "answers bytes of its own": (
        "for descriptor in range(3, 64):\n    try: os.write(descriptor, b'\\x00' * 64)\n    except OSError: pass\nos._exit(0)",
        "it replied something that is not an answer",
    ),
    "answers without end": (
        "while True:\n    for descriptor in range(3, 64):\n        try: os.write(descriptor, b'x' * 2**16)\n        except OSError: pass",
        "it replied with more than 4 MiB",
    ),
    "forges the length of its answer": (
        'import mdbench.methods.inside as inside\ninside._json = lambda said: b\'{"replies": [{"fit_seconds": 0, "predict_seconds": 0}], "warned": []}\'\n'
        "Hostile.predict = lambda self, models: []\n"
        "import mdbench.methods.trial\nmdbench.methods.trial._predict = lambda solver, values, question: np.zeros(3, np.int8)",
        "it replied something that is not one verdict a row",
    ),
    "forges verdicts that do not exist": (
        "import mdbench.methods.trial\nmdbench.methods.trial._predict = lambda solver, values, question: np.full(len(values), 99, np.int8)",
        "it replied something that is not one verdict a row",
    ),
    "forges times": (
        "import mdbench.methods.trial\nmdbench.methods.trial.time.perf_counter = iter([0.0, float('nan'), 0.0, float('nan')]).__next__",
        "it replied something that is not an answer",
    ),
    "forges an error that clears the screen": (
        "raise Found('\\x1b[2J\\x07' + 'x' * 10**7)",
        "it raised Found: \N{REPLACEMENT CHARACTER}\\[2J\N{REPLACEMENT CHARACTER}xxx",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_hostile_method_does_ends_as_a_verdict(outcome, name):
    fit, expected = REFUSED[name]
    said = outcome(written(fit))
    assert isinstance(said, str), said
    assert re.search(expected, said), said
    assert len(said) < 10_000


@pytest.mark.parametrize(
    "forever",
    ["time.sleep(1e6)", "while True: pass", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1e6)"],
)
def test_what_does_not_end_is_ended(outcome, forever):
    with Sandbox(1, 2, LIMITS) as impatient:
        said = outcome(written(forever), impatient)
    assert re.search(r"it took longer than 2 s \(--timeout\)|ended by SIG(XCPU|KILL)", said)


# It tries, and raises Found where it gets through; it answers like everybody where it does not.
HARMLESS = {
    "looks for tables everywhere": """
for folder, _, files in os.walk('/'):
    if folder.startswith('/proc'): continue
    if {'zoo.json', 'configurations.parquet', 'cases.parquet', 'splits.parquet', 'entry.json', 'ledger.jsonl'} & set(files):
        raise Found(folder)
""",
    "looks for other processes, and at its own number": """
if [name for name in os.listdir('/proc') if name.isdigit()] != ['1'] or (os.getpid(), os.getppid()) != (1, 0): raise Found
child = os.fork()
if not child: os._exit(0)
if os.waitpid(child, 0)[0] != 2: raise Found(child)
said = open('/proc/self/environ').read()
if 'MDBENCH' in said or 'SECRET' in said: raise Found(said)
for name in ('loadavg', 'meminfo', 'stat', 'sysvipc', 'keys', 'locks', 'net'):
    if name != 'net' and os.path.exists(f'/proc/{name}'): raise Found(name)
""",
    "writes everywhere": """
for folder in ('/', '/usr', '/usr/lib', '/etc', '/dev', '/dev/shm', '/proc/sys/kernel', '/sandbox', '/sandbox/packages',
               '/sandbox/packages/mdbench', '/sandbox/packages/mdbench/data', sys.prefix, sys.base_prefix, '/tmp', '/root'):
    try: open(f'{folder}/written', 'w').close()
    except OSError: continue
    raise Found(folder)
for path in ('/sandbox/packages/mdbench/stats.py', sys.executable, '/usr/bin/env'):
    try: open(path, 'a').close()
    except OSError: continue
    raise Found(path)
""",
    "is somebody": "if 0 in os.getresuid() + os.getresgid() or os.getgroups() not in ([], [os.getgid()]): raise Found",
    "has rights": """
said = dict(line.split(':', 1) for line in open('/proc/self/status'))
if int(said['CapEff'], 16) or int(said['CapPrm'], 16) or said['NoNewPrivs'].strip() != '1': raise Found
""",
    "prints ten gigabytes": "for _ in range(10 * 2**10):\n    os.write(1, bytes(2**20)); os.write(2, b'x')",
    "finds what an earlier question left": """
import builtins, glob
if len([p for p in os.listdir('/proc') if p.isdigit()]) > 2: raise Found('a process')
if os.listdir('.') != ['hostile.py']: raise Found(os.listdir('.'))
if hasattr(builtins, 'kept'): raise Found('a variable')
builtins.kept = list(labels)
os.makedirs('deep/er'); open('deep/er/file', 'w').write('x'); os.chmod('deep', 0); os.symlink('/usr', 'link')
if not os.fork():
    os.setsid()
    if not os.fork(): time.sleep(600)
    os._exit(0)
""",
    "finds what an earlier question changed of its process": """
import contextlib, resource
if resource.getrlimit(resource.RLIMIT_RTTIME) != (-1, -1) or resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 99: raise Found
if os.getpriority(os.PRIO_PROCESS, 0) == 19 or os.sched_getscheduler(0) == os.SCHED_BATCH: raise Found('its schedule')
if os.listxattr('.') or os.stat('.').st_mode & 0o777 != 0o777: raise Found('its folder')
for change in (
    lambda: resource.setrlimit(resource.RLIMIT_RTTIME, (123456789, 123456789)),
    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99)),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    lambda: os.setxattr('.', 'user.x', b'hello'),
    lambda: os.chmod('.', 0o555),
):
    with contextlib.suppress(OSError, ValueError): change()
""",
    # Each leaves a mark for the next question, and looks for one first. What it is refused leaves none.
    "leaves a key": """
syscall = ctypes.CDLL(None, use_errno=True).syscall
add, request = {'x86_64': (248, 249), 'aarch64': (217, 218)}[os.uname().machine]
for keyring in (-3, -4, -5):
    if syscall(request, b'user', b'mdbench', None, keyring) >= 0: raise Found('a key')
    if syscall(add, b'user', b'mdbench', b'x', 1, keyring) >= 0: raise Found(keyring)
""",
    "leaves a message": """
libc = ctypes.CDLL(None)
if max(libc.msgget(4711, 0o1600), libc.semget(4711, 1, 0o1600), libc.shmget(4711, 4096, 0o1600)) >= 0: raise Found
""",
    "touches a device": """
for device in ('/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', '/dev/tty', '/dev/pts/ptmx', '/dev/pts'):
    try: os.utime(device)
    except OSError: continue
    raise Found(device)
open('/dev/null', 'w').write('x')
""",
    "locks or watches a file that all see": """
import fcntl
with open(os.__file__) as file:
    for tells in (
        lambda: fcntl.flock(file, fcntl.LOCK_EX),
        lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        lambda: fcntl.fcntl(file, fcntl.F_NOTIFY, fcntl.DN_ACCESS),
        lambda: fcntl.fcntl(file, fcntl.F_GETLK, bytes(32)),
        lambda: fcntl.fcntl(file, 36, bytes(32)),  # F_OFD_GETLK
        lambda: fcntl.fcntl(file, 1036, bytes(8)),  # F_SET_RW_HINT
        lambda: os.preadv(file.fileno(), [bytearray(9)], 0, os.RWF_NOWAIT),
    ):
        try: tells()
        except PermissionError: continue
        raise Found
if ctypes.CDLL(None).inotify_init1(0) >= 0: raise Found
""",
    "leaves a connection that the kernel remembers": """
with socket.socket() as server:
    server.bind(('127.0.0.1', 4711))  # refused for a minute where somebody has just closed a connection there
    server.listen()
    try:
        client = socket.create_connection(('127.0.0.1', 4711), 1)
        server.accept()[0].close()
        client.close()
    except OSError: pass
""",
    "opens a socket that leads into the kernel, or below it": """
for family in range(50):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
        try: socket.socket(family, kind).close()
        except OSError: continue
        if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6): raise Found(family)
""",
    "makes namespaces": """
libc = ctypes.CDLL(None)
if libc.unshare(0x10000000) == 0 or libc.mount(b'tmpfs', b'/sandbox/work', b'tmpfs', 0, None) == 0: raise Found
clone = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]
child = libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0)
if child == 0: os._exit(0)
if child > 0: raise Found
""",
    "patches the harness": """
import mdbench.scoring.stats, mdbench.methods.trial, mdbench.tables.tasks, sklearn.metrics
mdbench.scoring.stats.accuracies = mdbench.methods.trial.answer = mdbench.methods.trial.check_inductive = None
for task in mdbench.tables.tasks.TASKS.values(): object.__setattr__(task, 'verdicts', dict(reversed(task.verdicts.items())))
mdbench.tables.tasks.TASKS.clear()
self.verdict = {'temperature_too_low': 'temperature_too_high', 'temperature_too_high': 'temperature_too_low'}[self.verdict]
""",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_hostile_method_tries_gets_nowhere(outcome, posed, name):
    said = outcome(written(HARMLESS[name]))
    assert isinstance(said, Answer), said
    assert (said.predicted == majority(posed)).all()


REFUSING = """
numbers = {numbers!r}
libc = ctypes.CDLL(None, use_errno=True)
said = dict()
for name, number in numbers.items():
    ctypes.set_errno(0)
    libc.syscall(number, -1, -1, -1, -1, -1, -1)
    said[name] = ctypes.get_errno()
raise Found(said)
"""


def test_the_kernel_refuses_what_the_list_says_by_the_numbers_of_libseccomp(outcome):
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("libseccomp, which has the numbers, is not here")
    resolve = ctypes.CDLL(library).seccomp_syscall_resolve_name
    place = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
    numbers = {name: resolve(name.encode()) for name in (*syscalls.REFUSED, "clone3")}
    for name, both in syscalls.REFUSED.items():
        # One that this libseccomp does not know is younger than it.
        assert numbers[name] in (both[place], -1), name
    known = {name: number for name, number in numbers.items() if number >= 0}
    assert len(known) >= len(numbers) - 3
    said = outcome(written(REFUSING.format(numbers=known | {"later": 463, "x32": 0x40000000})))
    found = ast.literal_eval(said.removeprefix("it raised Found: "))
    expected = dict.fromkeys(known, errno.EPERM) | dict.fromkeys(("clone3", "later", "x32"), errno.ENOSYS)
    assert found == expected


# A file that all sandboxes see, and a number in it, in memory.
AT_A_FILE = """
import ctypes, fcntl, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
futex = {'x86_64': 202, 'aarch64': 98}[os.uname().machine]
file = open(os.__file__)
at = libc.mmap(None, 4096, 1, 1, file.fileno(), 0)
number = ctypes.c_uint32.from_address(at)
"""
TELLS = (
    AT_A_FILE
    + """
fcntl.fcntl(file, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 4711, 1, 0))
seconds = struct.pack('qq', 4, 0)
raise LookupError(f"told: {libc.syscall(futex, ctypes.c_void_p(at), 0, number.value, seconds, None, 0)}")
"""
)
HEARS = (
    AT_A_FILE
    + """
heard, until = [], time.monotonic() + 3
while time.monotonic() < until and not heard:
    for ask in (fcntl.F_GETLK, 36):
        try: kind = struct.unpack('hhqqi4x', fcntl.fcntl(file, ask, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 4711, 1, 0)))[0]
        except OSError: continue
        heard += ['a lock'] * (kind != fcntl.F_UNLCK)
    heard += ['who waits'] * (libc.syscall(futex, ctypes.c_void_p(at), 1, 1, None, None, 0) > 0)
    time.sleep(0.05)
raise LookupError(f'heard: {heard}')
"""
)


def test_what_one_question_does_with_a_file_another_that_is_asked_meanwhile_does_not_hear():
    # Whoever waits at the file with no time limit of its own is not woken: -1, when the time is over.
    boxes, said = [Box((), Limits()), Box((), Limits())], {}

    def ask(place: int, source: str) -> None:
        said[place] = boxes[place].ask({"file": "x.py", "source": source, "questions": []}, seconds=60)[1]

    try:
        for place in (0, 1):
            ask(place, "raise LookupError")  # it has begun
        asking = [threading.Thread(target=ask, args=one) for one in enumerate((TELLS, HEARS))]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
    finally:
        for box in boxes:
            box.close()
    assert b"told: -1" in said[0], said
    assert b"heard: []" in said[1], said


def test_a_machine_whose_system_calls_are_not_known_has_no_sandbox():
    with pytest.raises(MdbenchError, match=r"x86_64 and aarch64, and this machine is a riscv64; --no-sandbox"):
        syscalls.filter_program("riscv64")
    assert len(syscalls.filter_program("aarch64")) % 8 == 0


def test_what_was_told_earlier_is_not_in_memory():
    # The first file holds a mark, which the second looks for all over its memory; it is asked in the same sandbox. It looks
    # with every byte turned up by one, so that it does not find what it looks for in what it looks with.
    mark = os.urandom(12).hex()
    looking = f"""
up = bytes((i + 1) % 256 for i in range(256))
def found():
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
        for line in maps.read().splitlines():
            low, high = (int(end, 16) for end in line.split()[0].split('-'))
            if ' r' in line and '[v' not in line:
                memory.seek(low)
                try: content = memory.read(high - low)
                except OSError: continue
                if {"".join(chr(ord(sign) + 1) for sign in mark)!r}.encode() in content.translate(up): return True
    return False
raise LookupError(f'found: {{found()}}')
"""
    box = Box((), Limits())
    try:
        for source, expected in (
            (f"# {mark}\nraise LookupError", b"LookupError"),
            (looking, b"found: False"),
            (f"# {mark}\n{looking}", b"found: True"),
        ):
            said = box.ask({"file": "x.py", "source": source, "questions": []}, seconds=60)[1]
            assert expected in said, said
    finally:
        box.close()


def test_no_socket_leads_outside(outcome, posed):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        server.setblocking(False)
        local.bind("\0mdbench-test")
        local.listen()
        port = server.getsockname()[1]
        tries = f"""
for kind, address in ((socket.AF_INET, ('127.0.0.1', {port})), (socket.AF_UNIX, '\\0mdbench-test'), (socket.AF_INET, ('192.0.2.1', 80))):
    with socket.socket(kind) as one:
        one.settimeout(1)
        try: one.connect(address)
        except OSError: continue
        raise Found(address)
"""
        said = outcome(written(tries))
        assert isinstance(said, Answer), said
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_position_of_a_row_says_nothing_and_answers_by_it_are_refused(outcome):
    said = outcome(
        written(
            predict="return [list(['temperature_too_low', 'temperature_too_high'])[i % 2] for i in range(len(models))]"
        )
    )
    assert "its predictions depend on which other rows are asked about" in said


def test_what_a_method_remembers_in_its_module_does_not_help_it_through_the_inductive_check(outcome, posed, tmp_path):
    # By rank among the first batch, which the module remembers for later ones.
    remembering = written(
        predict="""
global first
first = globals().get('first', None)
if first is None: first = np.sort(models['train_error'].to_numpy())
middle = first[len(first) // 2]
if not np.isnan(middle): return np.where(models['train_error'] > middle, 'temperature_too_low', 'temperature_too_high')
""".replace("len(first) // 2", "len(first) // 3")
    )
    file = tmp_path / "hostile.py"
    file.write_text(remembering)
    assert "depend on which other rows" in outcome(remembering)
    assert not evaluated([file], [CASE], cache=False).result.failures  # in this process, nobody notices


def test_the_method_sees_no_more_than_it_may(outcome, posed):
    told = """
assert list(models) == ['train_error'] and list(models.index) == list(range(len(models))), models
assert set(labels) <= {'temperature_too_low', 'temperature_too_high'} and len(labels) == len(models)
"""
    asked = "assert list(models) == ['train_error'] and list(models.index) == list(range(len(models))), models"
    assert isinstance(outcome(written(told, asked)), Answer)


def test_answers_are_those_without_a_sandbox():
    # A tree with scipy within, one that draws random numbers, a transductive one, one that is not trained.
    names = ["md_tree", "random_forest", "md_tree_quantile", "barrier_rule"]
    isolated, plain = (evaluated(names, [CASE], workers=2 * s, cache=False, sandbox=s) for s in (True, False))
    assert not isolated.result.failures
    assert isolated.answers.keys() == plain.answers.keys()
    for pair, answer in plain.answers.items():
        assert (isolated.answers[pair].predicted == answer.predicted).all()
        assert isolated.answers[pair].columns == answer.columns


def test_a_method_may_not_import_what_lies_beside_it(outcome, tmp_path):
    (tmp_path / "beside.py").write_text("x = 1")
    assert "it cannot be loaded" in outcome("import beside") or "No module named 'beside'" in outcome("import beside")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xfe", "utf-8"),
        (b"#" * (1 << 21), "at most 1 MiB"),
        (b"def", "syntax error"),
        (b"", "there is no method"),
    ],
)
def test_files_that_are_no_method(sandbox, tmp_path, content, expected):
    file = tmp_path / "x.py"
    file.write_bytes(content)
    ((_, said),) = sandbox.load([file])
    assert isinstance(said, MethodError)
    assert expected in str(said)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("columns = ['width']", "'width'"),
        ("columns = ['test_error']\ntrack = 'transductive'", "test_error"),
        ("name = 'two\\nlines'", "printable"),
        ("track = 'sideways'", "sideways"),
        (
            "import mdbench.methods.inside as i; i._json = lambda said: b'[' * 10**5",
            "it replied something that is not an answer",
        ),
        (
            "import mdbench.methods.inside as i; i._json = lambda said: b'{}'",
            "it replied something that is not an answer",
        ),
        (
            "import json, mdbench.methods.inside as i; i._json = lambda said: json.dumps(said | {'columns': {'optimizer': ['width']}}).encode()",
            "'width'",
        ),
        (
            "import mdbench.tables.schema as s, mdbench.methods.method as m; m.check_visible = lambda *a, **k: None; columns = ['rfi_width']",
            "rfi_width",
        ),
    ],
)
def test_what_a_method_says_of_itself_is_checked_outside(outcome, line, expected):
    assert expected in outcome(line + "\nclass M:\n    def fit(self, m, l): pass\n    def predict(self, m): return []")


def test_objects_of_this_process_are_refused():
    from sklearn.dummy import DummyClassifier

    with pytest.raises(MdbenchError, match="only a method's file"):
        evaluate(DummyClassifier(), [CASE.name], sandbox=True)


def test_nothing_is_taken_from_the_cache(method_file):
    # The first run without a sandbox keeps an answer that reads the labels.
    file = method_file(written("import mdbench\nmdbench.load_zoo('mnist1d-cnn')"))
    assert not evaluate([file], [CASE.name]).failures
    (failure,) = evaluate([file], [CASE.name], sandbox=True).failures
    assert "zoo 'mnist1d-cnn' is not there" in failure.reason


def test_without_bubblewrap_it_refuses(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MdbenchError, match=r"apt install bubblewrap.*--no-sandbox"):
        evaluate("majority", [CASE.name], sandbox=True)


def test_where_it_cannot_be_made_it_refuses_and_says_what_bubblewrap_said(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MdbenchError, match="cannot be made here: bwrap: No permissions to create new namespace"):
        evaluate("majority", [CASE.name], sandbox=True)


def test_nothing_is_left_when_whoever_started_it_is_killed(tmp_path):
    program = (
        "from mdbench.methods.box import Box\nfrom mdbench.methods.wire import Limits\n"
        "box = Box((), Limits()); box._begin(); print(box._process.pid, flush=True)\n"
        "box.ask({'file': 'x.py', 'source': 'import time; time.sleep(600)', 'questions': []}, seconds=600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    ended = threading.Event()
    for _ in range(200):
        if not Path("/proc", str(pid)).exists() or "(zombie)" in Path("/proc", str(pid), "status").read_text():
            ended.set()
            break
        ended.wait(0.05)
    assert ended.is_set()


def test_everything_is_hidden_where_the_packages_are_installed(monkeypatch, tmp_path):
    # As after `pip install`: mdbench lies in a folder that is seen inside.
    command = confinement()
    shown = [command[place + 1] for place, word in enumerate(command) if word == "--ro-bind"]
    assert not any(Path(path) == bundled_zoos() for path in shown)
    hidden = _hidden([str(Path(mdbench.__file__).parent.parent)])
    assert str(bundled_zoos().resolve()) in hidden
    assert "/sandbox/packages/mdbench/data" in hidden


def test_a_copy_that_is_installed_beside_the_one_at_work_is_hidden_too(monkeypatch, tmp_path):
    installed = tmp_path / "lib" / "site-packages"
    for folder in ("mdbench/data", "leaderboard/entries"):
        (installed / folder).mkdir(parents=True)
    monkeypatch.setattr("site.getsitepackages", lambda prefixes=None: [str(installed)])
    hidden = set(_hidden([str(tmp_path)]))
    assert hidden == {"/sandbox/packages/mdbench/data", f"{installed}/mdbench/data", f"{installed}/leaderboard"}


def test_of_the_environment_what_python_needs_is_seen_and_nothing_else(outcome, posed):
    shown = """
inside = set(os.listdir(sys.prefix)) | set(os.listdir(sys.base_prefix))
if not inside <= {'bin', 'lib', 'lib64', 'pyvenv.cfg', 'sbin', 'libexec', 'share', 'lib32'}: raise Found(inside)
if os.path.exists('/usr/src') or os.path.exists('/usr/local/src'): raise Found('sources')
"""
    assert isinstance(outcome(written(shown)), Answer)


@pytest.mark.parametrize("beside", ["src/theirs/.git/config", "src/zoos/own/zoo.json", "sealed/key"])
def test_where_a_checkout_tables_or_a_key_would_be_seen_there_is_no_sandbox(tmp_path, beside):
    (tmp_path / beside).parent.mkdir(parents=True)
    (tmp_path / beside).touch()
    (tmp_path / "mdbench" / "data").mkdir(parents=True)  # an installation of ours, which is hidden, is none of these
    (tmp_path / "mdbench" / "data" / "zoo.json").touch()
    with pytest.raises(MdbenchError, match=r"would be seen in the sandbox, .* lies in it: move"):
        confinement_module._look_through((str(tmp_path),))
    shutil.rmtree(tmp_path / Path(beside).parts[0])
    confinement_module._look_through.cache_clear()
    confinement_module._look_through((str(tmp_path),))


def test_an_interpreter_that_is_reached_through_the_folder_above_works(monkeypatch):
    program = Path(sys.executable)
    monkeypatch.setattr(sys, "executable", str(program.parent / ".." / program.parent.name / program.name))
    box = Box((), Limits())
    try:
        told = {"file": "x.py", "source": "import sys; raise LookupError(sys.prefix)", "questions": []}
        assert sys.prefix.encode() in box.ask(told, seconds=60)[1]
    finally:
        box.close()


def test_what_is_imported_beforehand_is_of_a_closed_list(tmp_path):
    (tmp_path / "x.py").write_text(
        "import sklearn.tree, scipy.optimize as o, torch.nn as nn\nfrom baselines.md_tree import MDTree\n"
        f"if False:\n    import sklearn.tests.test_docstrings, os, baselines.nothing, scipy.{'a' * 10**5}\n    from . import y\n"
    )
    wanted = _Source.read(tmp_path / "x.py").wanted
    assert wanted == {"sklearn.tree", "scipy.optimize", "torch.nn", "baselines.md_tree"}
    for name in named_methods():
        source = _Source.read(find_method(name))
        assert {module for module in source.wanted if module.startswith("baselines")} <= {
            f"baselines.{one}" for one in named_methods()
        }


def test_what_one_sandbox_uses_is_not_counted_against_another(posed, tmp_path):
    # Each is below its own limits, of memory that is no process's own and of processes; together they are above.
    filling = written(
        "kept = []\nfor _ in range(40):\n    kept.append(os.memfd_create('x'))\n    os.write(kept[-1], bytes(15 * 2**20))\n"
        "for _ in range(40):\n    if not os.fork(): time.sleep(60)\ntime.sleep(1)"
    )
    (tmp_path / "filling.py").write_text(filling)
    (tmp_path / "other.py").write_text(filling + "\n# another\n")
    with Sandbox(2, 60, LIMITS) as running:
        methods = dict(running.load([tmp_path / "filling.py", tmp_path / "other.py"]))
        orders = [Order(method, posed.rows) for method in methods.values()]
        for _, said in running.ask(orders):
            assert isinstance(said, Answer), said


def test_sandboxes_are_started_once_and_not_for_every_case(posed, monkeypatch):
    # One for questions, and another for halves, of which no question of the case was asked.
    heard: dict[int, list[list[int]]] = {}

    class Noting(Box):
        def ask(self, order, *parts, **how):
            heard.setdefault(id(self), []).append([about["rows"][1] for about in order["questions"]])
            return super().ask(order, *parts, **how)

    monkeypatch.setattr("mdbench.methods.sandbox.Box", Noting)
    file = find_method("majority")
    with Sandbox(1, 60, files=[file]) as running:
        ((_, method),) = running.load([file])
        orders = [Order(method, posed.rows, secret) for secret in ("a", "b", "c", "d")]
        assert all(isinstance(said, Answer) for _, said in running.ask(orders))
    count, samples = len(posed.rows.test), len(set(posed.rows.distinct))
    halves = [said for asked in heard.values() for said in asked if len(said) and said[0] < count]
    assert len(heard) == 2
    assert halves == [[(count + 1) // 2] * samples] * len(orders)
    # In turn: whoever heard the halves of a case hears the questions of the next.
    for asked in heard.values():
        told = [said[0] < count for said in asked if said]
        assert [told[place : place + samples + 1] for place in range(0, len(told), samples + 1)] in (
            [[False] * samples + [True]] * 2,
            [[True] + [False] * samples] * 2,
        )


def test_verdicts_of_a_trial_are_the_same_question_by_question(posed):
    # What is sent apart is what would have been asked here.
    from mdbench.methods.method import load_method

    method = load_method(find_method("md_tree"))
    asked = []

    def noting(question):
        asked.append(question)
        return trial.solve(method, question)

    answer = trial.answer(method, posed.rows, lambda several: map(noting, several))
    assert (answer.predicted == trial.ask(method, posed.rows).predicted).all()
    assert [question.half is not None for question in asked] == [True, False]
    assert len(asked[0].halved().test) == (len(posed.rows.test) + 1) // 2


SURE = """
import numpy as np
columns = ["train_error", "train_loss"]

class Sure:
    def fit(self, models, labels, task):
        self.classes_, self.middle = task.classes[::-1], models["train_loss"].median()

    def predict(self, models):
        return [None if loss > self.middle else self.classes_[0] for loss in models["train_loss"]]

    def predict_proba(self, models):
        share = 1 / (1 + models["train_error"].to_numpy())
        return np.column_stack([share, {second}])
"""


def test_probabilities_and_abstentions_come_out_as_they_are(outcome, posed, tmp_path):
    text = SURE.format(second="1 - share")
    said = outcome(text)
    (tmp_path / "here.py").write_text(text)
    here = ask(load_method(tmp_path / "here.py"), posed.rows)
    np.testing.assert_array_equal(said.predicted, here.predicted)
    assert set(np.unique(said.predicted)) == {-1, 1}
    np.testing.assert_array_equal(said.probabilities, here.probabilities)


@pytest.mark.parametrize(("second", "why"), [("share", "do not add up to 1"), ("share * np.nan", "not finite")])
def test_what_are_no_probabilities_is_refused_there_too(outcome, second, why):
    assert why in outcome(SURE.format(second=second))


@pytest.mark.parametrize("number", ["2.0", "float('nan')", "-1.0"])
def test_probabilities_that_were_forged_inside_are_refused_outside(outcome, number):
    forged = f"lambda solver, values, question: np.full((len(values), 2), {number}, np.float32)"
    said = outcome(written(f"import mdbench.methods.trial\nmdbench.methods.trial._probabilities = {forged}"))
    assert isinstance(said, str)
    assert "it gave probabilities" in said


def test_what_a_method_is_warned_of_is_said_once_a_method(sandbox, posed, tmp_path):
    text = (
        "from sklearn.linear_model import LogisticRegression\nimport warnings\nwarnings.warn('loading\\x1b[2J')\n"
        "columns = ['train_error', 'train_loss']\nmethod = LogisticRegression(max_iter=2)"
    )
    file = tmp_path / "hasty.py"
    file.write_text(text)
    with pytest.warns(MethodWarning) as heard:
        ((_, method),) = sandbox.load([file])
    assert [str(one.message) for one in heard] == ["method hasty: UserWarning: loading\N{REPLACEMENT CHARACTER}[2J"]
    ((_, said),) = sandbox.ask([Order(method, posed.rows)])
    with pytest.warns(UserWarning, match="loading"):
        here = ask(load_method(file), posed.rows)
    assert said.warned == here.warned
    assert {line.partition(":")[0] for line in said.warned} == {"ConvergenceWarning"}


def test_warnings_of_a_method_are_lines_and_not_too_many(outcome):
    text = written("import warnings\nfor i in range(300): warnings.warn('x' * 1000 + str(i) + '\\n' + 'y' * 1000)")
    assert {len(line) for line in outcome(text).warned} == {TEXT}
    many = written("import warnings\nfor i in range(300): warnings.warn(f'{i}')")
    assert len(outcome(many).warned) == MOST
    forged = "import mdbench.methods.inside as inside\nreal = inside._json\n"
    for lie in ("['x' * 301]", "['x'] * 101", "'x'", "[1]"):
        told = f"inside._json = lambda said: real({{**said, 'warned': {lie}}})\n"
        assert "replied something that is not an answer" in outcome(written(forged + told))


def test_what_is_imported_beforehand_finds_the_temporary_folder_that_a_question_has(posed, outcome):
    """Some libraries ask for it when they are imported: torch does, with dill beside it."""
    pytest.importorskip("torch")
    text = written("import tempfile, torch; self.where = tempfile.mkdtemp(); assert torch.ones(2).sum() == 2")
    with Sandbox(1, 60, Limits(memory=2 << 30, disk=16 << 20)) as running:
        said = outcome(text, running)
    assert isinstance(said, Answer), said
    assert (said.predicted == majority(posed)).all()
