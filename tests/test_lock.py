"""One run per folder: whoever comes second is told who is there; a kill leaves no lock behind."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from genlearn.errors import Problem
from genlearn.lock import LOCK_FILE, alone_in, holder

HOLD = """
import sys, time
from genlearn.lock import alone_in
with alone_in(sys.argv[1], "genlearn fit vae digits"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds `runs/x`."""
    folder = tmp_path / "runs/x"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield folder, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_is_there_and_a_kill_frees_the_folder(other):
    folder, process = other
    with pytest.raises(Problem) as refused, alone_in(folder):
        pytest.fail("two held one folder")
    told = str(refused.value)
    assert told.startswith(f"{folder} is being written by process {process.pid} since ")
    assert told.endswith("(genlearn fit vae digits). Wait for it, or choose another --out.")
    assert holder(folder) in told
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / LOCK_FILE).exists()
    assert holder(folder) == ""
    with alone_in(folder):
        assert f"process {os.getpid()} since" in holder(folder)


def test_the_holder_may_lock_it_again_and_what_lies_inside(tmp_path):
    with alone_in(tmp_path / "c"), alone_in(tmp_path / "c"), alone_in(tmp_path / "c/vae/seed0"):
        assert not (tmp_path / "c/vae").exists()
    assert not (tmp_path / "c").exists()


def test_a_second_thread_is_somebody_else(tmp_path):
    found = []

    def second():
        try:
            with alone_in(tmp_path):
                found.append("in")
        except Problem as e:
            found.append(str(e))

    with alone_in(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"is being written by process {os.getpid()}" in found[0]


def test_nothing_empty_stays_and_nothing_full_goes(tmp_path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path / "a/b"):
        raise ZeroDivisionError
    assert not (tmp_path / "a").exists()
    with alone_in(tmp_path / "a/b"):
        (tmp_path / "a/b/model").touch()
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["model"]


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Problem, match=r"cannot write to .*Choose another --out"), alone_in(tmp_path / "file"):
        pass
