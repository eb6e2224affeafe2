from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ml.cache import Cache

VECTORS = np.arange(6400, dtype=np.float16).reshape(200, 32)
SIZE = VECTORS.nbytes + 128  # With the header of the file


def name(number: int, encoder: str = "aa") -> str:
    return f"{encoder}-64-{hashlib.sha256(str(number).encode()).hexdigest()}"


def files(cache: Cache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def grow_old(cache: Cache, number: int, seconds: int) -> None:
    path = next(cache.folder.glob(f"*/{name(number)}.npy"))
    os.utime(path, (seconds, seconds))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_what_was_written_is_read_and_nothing_else(cache: Cache) -> None:
    cache.write(name(1), VECTORS)
    assert np.array_equal(cache.read(name(1)), VECTORS)
    assert cache.read(name(2)) is None
    assert cache.read(name(1, "bb")) is None


def test_the_folder_is_for_its_owner_alone(cache: Cache) -> None:
    cache.write(name(1), VECTORS)
    assert {path.stat().st_mode & 0o077 for path in files(cache)} == {0}
    assert files(cache)[0].parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("keep", [0, 20, SIZE // 2], ids=["empty", "half a header", "half an array"])
def test_a_file_that_cannot_be_read_is_a_miss_and_is_written_anew(cache: Cache, keep: int) -> None:
    cache.write(name(1), VECTORS)
    [path] = files(cache)
    path.write_bytes(path.read_bytes()[:keep])
    assert cache.read(name(1)) is None
    cache.write(name(1), VECTORS)
    assert np.array_equal(cache.read(name(1)), VECTORS)


def test_a_pickle_in_the_place_of_an_array_is_not_loaded(cache: Cache) -> None:
    cache.write(name(1), VECTORS)
    np.save(files(cache)[0], np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert cache.read(name(1)) is None


def test_those_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=5 * SIZE)
    for number in range(5):
        cache.write(name(number), VECTORS)
        grow_old(cache, number, 1000 + number)
    assert cache.read(name(0)) is not None, "using it makes it the newest"
    cache.write(name(5), VECTORS)
    kept = [number for number in range(6) if cache.read(name(number)) is not None]
    assert kept == [0, 3, 4, 5]
    assert sum(path.stat().st_size for path in files(cache)) <= 0.9 * cache.most_bytes


def test_the_bound_holds_over_many_writes_and_for_a_folder_found_full(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=20 * SIZE)
    for number in range(100):
        cache.write(name(number), VECTORS)
        assert sum(path.stat().st_size for path in files(cache)) <= 1.01 * cache.most_bytes
    smaller = Cache(tmp_path, most_bytes=10 * SIZE)
    smaller.write(name(100), VECTORS)
    assert sum(path.stat().st_size for path in files(cache)) <= smaller.most_bytes


def test_forgetting_a_text_removes_it_for_every_encoder_and_no_other(cache: Cache) -> None:
    for number, encoder in [(1, "aa"), (1, "bb"), (2, "aa")]:
        cache.write(name(number, encoder), VECTORS)
    cache.forget(hashlib.sha256(b"1").hexdigest())
    assert [path.stem for path in files(cache)] == [name(2)]
    cache.forget(hashlib.sha256(b"never there").hexdigest())


def test_a_folder_that_cannot_be_written_keeps_nothing_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    cache.write(name(1), VECTORS)
    assert cache.read(name(1)) is None


def run(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_leaves_no_half_file_behind(tmp_path: Path) -> None:

    program = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from ml.cache import Cache
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        Cache(Path(sys.argv[1])).write("aa-64-" + "0" * 64, np.zeros((1000, 32), dtype=np.float16))
    """
    found = run(program, tmp_path)
    assert (found.communicate(timeout=60), found.returncode) == (("", ""), 0)
    assert files(Cache(tmp_path)) == []


def test_what_a_killed_process_left_is_forgotten_and_makes_room(cache: Cache) -> None:
    program = """
        import os, sys
        from pathlib import Path
        import numpy as np
        from ml.cache import Cache
        Path.rename = lambda *_: os.kill(os.getpid(), 9)
        Cache(Path(sys.argv[1])).write(sys.argv[2], np.zeros((200, 32), dtype=np.float16))
    """
    for number in (1, 2):
        process = run(program, cache.folder, name(number))
        assert (process.communicate(timeout=60), process.returncode) == (("", ""), -9)
    assert {path.name[: len(name(1)) + 2] for path in files(cache)} == {f".{name(1)}.", f".{name(2)}."}
    cache.forget(name(1).rpartition("-")[2])
    assert len(files(cache)) == 1
    Cache(cache.folder, most_bytes=SIZE).write(name(3), VECTORS)
    assert not list(cache.folder.rglob("*.part"))


def test_two_processes_share_a_folder_that_is_too_small_for_both(tmp_path: Path) -> None:
    program = """
        import hashlib, sys
        from pathlib import Path
        import numpy as np
        from ml.cache import Cache
        cache = Cache(Path(sys.argv[1]), most_bytes=40_000)
        hits = 0
        for at in range(1500):
            number = at % 40
            name = "aa-64-" + hashlib.sha256(str(number).encode()).hexdigest()
            found = cache.read(name)
            if found is None:
                cache.write(name, np.full((30, 32), number, dtype=np.float16))
            else:
                hits += 1
                assert found.shape == (30, 32) and (found == number).all()
        print(hits)
    """
    both = [run(program, tmp_path) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert int(out) > 0
    assert not list(tmp_path.rglob("*.part"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= 2 * 40_000
