"""What only the SQLite store promises: one process, its file, its schema, its durability."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import Raw

from bide.errors import (
    DataRefusedError,
    LeaseLostError,
    SchemaTooNewError,
    StoreError,
    StoreInUseError,
    StoreReplacedError,
    StoreUnavailableError,
)
from bide.model.history import EventRaised, ExecutionRewound, ExecutionStarted, Fact
from bide.model.instance import PARTITIONS, RuntimeStatus, partition_of
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor, WaitFilter
from bide.store import listing
from bide.store.listing import SQLITE
from bide.store.protocol import BEFORE_ALL, Store
from bide.store.sqlite.files import backup, damage, migrate, status
from bide.store.sqlite.store import SqliteStore
from bide.testing.conformance import everything, instance, nothing_of, own_all, put
from bide.testing.exam_rows import step

SMALL, LARGE = Raw(b'"small"'), Raw(b'"' + b"large" * 200 + b'"')
HOLDER = """
import asyncio, sys
from pathlib import Path
from bide.store.sqlite.store import SqliteStore
asyncio.run(SqliteStore(Path(sys.argv[1])).open())
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def opened(path: Path, question: Callable[[SqliteStore], Awaitable[None]], *, writer_thread: bool = False) -> None:
    async def main() -> None:
        store = SqliteStore(path, writer_thread=writer_thread)
        await store.open()
        try:
            await question(store)
        finally:
            await store.close()

    asyncio.run(main())


async def nothing(store: SqliteStore) -> None:
    pass


# --- one process


def test_a_second_process_is_refused_and_a_kill_frees_the_file(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUseError, match=rf"hub\.db is in use by process {holder.pid}\."):
            opened(path, nothing)
        holder.kill()
        holder.wait()
        opened(path, nothing)


def test_a_second_store_of_the_same_process_is_refused(path: Path) -> None:
    async def question(store: SqliteStore) -> None:
        other = SqliteStore(path)
        with pytest.raises(StoreInUseError, match=f"process {os.getpid()}"):
            await other.open()
        await put(store, await own_all(store), "still works")

    opened(path, question)


def test_a_refused_store_leaves_the_lock_to_its_owner(path: Path) -> None:
    async def question(store: SqliteStore) -> None:
        for _ in range(2):
            with pytest.raises(StoreInUseError):
                await SqliteStore(path).open()

    opened(path, question)


@pytest.mark.skipif(sys.platform == "darwin", reason="there the name is locked, and the fence does the rest")
def test_the_lock_is_of_the_file_and_not_of_a_name(path: Path, tmp_path: Path) -> None:
    """A link to the file leads to it, and a lock file that somebody took for a stale one takes no lock away."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUseError, match=rf"link\.db is in use by process {holder.pid}\."):
            opened(link, nothing)
        assert status(link).in_use_by == holder.pid
        path.with_name("hub.db.lock").unlink()
        for name in (path, link):
            with pytest.raises(StoreInUseError, match="in use by process unknown"):
                opened(name, nothing)
            path.with_name("hub.db.lock").unlink()
            assert status(name).in_use_by == 0
        holder.kill()
    opened(link, nothing)
    assert status(path).in_use_by is None


def test_a_store_of_the_same_process_is_refused_through_a_link_too(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)

    async def question(store: SqliteStore) -> None:
        path.with_name("hub.db.lock").unlink()
        with pytest.raises(StoreInUseError, match=f"process {os.getpid()}"):
            await SqliteStore(link).open()
        assert status(link).in_use_by == os.getpid()
        # POSIX ends a process's locks on a file with any handle of it. SQLite's own would be gone, and whoever
        # looks at the database would take the log away as that of a process that has ended.
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", LOOKER, str(path)], check=True)
        assert path.with_name("hub.db-wal").exists()

    opened(path, question)


LOOKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM instances").fetchall()
db.close()
"""


def test_a_file_with_two_names_is_refused(path: Path, tmp_path: Path) -> None:
    """SQLite would keep a log beside each of them."""
    opened(path, nothing)
    other = tmp_path / "other.db"
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(StoreError, match=r"has 2 names \(hard links\)"):
            opened(name, nothing)
    other.unlink()
    opened(path, nothing)


@pytest.mark.parametrize("writer_thread", [False, True])
def test_the_fence_is_in_the_file_and_not_in_memory(path: Path, writer_thread: bool) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a", "b")
        execute(path, f"UPDATE partitions SET epoch = epoch + 1 WHERE partition = {partition_of('a')}")
        with pytest.raises(LeaseLostError):
            await put(store, epochs, instances={"a": instance("a", name="lost")})
        del epochs[partition_of("a")]
        await put(store, epochs, "b")
        assert (await store.rows(["a"]))[0].name != "lost"

    opened(path, question, writer_thread=writer_thread)


def test_leases_of_a_process_that_is_gone_are_free(path: Path) -> None:
    async def question(store: SqliteStore) -> None:
        assert len(await own_all(store)) == PARTITIONS

    opened(path, question)
    opened(path, question)


def test_the_database_is_nobody_elses_business(path: Path) -> None:
    opened(path, nothing)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_shrinks_when_nobody_reads_what_was_before(path: Path) -> None:
    log = path.with_name("hub.db-wal")

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM instances").fetchall()
        for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
            row = instance(output_json=Raw(b'"' + letter * 4_000_000 + b'"'))
            await put(store, epochs, instances={"a": row})
        assert log.stat().st_size > 20_000_000
        reader.close()
        for _ in range(3):
            await put(store, epochs, "b")
        assert log.stat().st_size <= 16_000_000

    opened(path, question)


@pytest.mark.parametrize("verb", ["load", "commit"])
def test_a_damaged_database_is_said_to_be_one(path: Path, verb: str) -> None:
    async def make(store: SqliteStore) -> None:
        await put(store, await own_all(store), *(f"i{number}" for number in range(200)))

    opened(path, make)
    with sqlite3.connect(path) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'instances'").fetchone()
        assert db.execute("PRAGMA page_size").fetchone() == (4096,)
    db.close()

    def harm() -> None:
        with path.open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        with pytest.raises(StoreUnavailableError, match=r"The database is damaged: .*restore a copy"):
            await (store.load(["i1"]) if verb == "load" else put(store, epochs, "i1"))

    harm()
    opened(path, question)


# --- a lock of another process


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.parametrize("writer_thread", [False, True])
def test_a_lock_of_another_process_holds_up_no_one_else(path: Path, writer_thread: bool) -> None:
    async def question() -> None:
        store = SqliteStore(path, writer_thread=writer_thread, patience_s=0.1)
        await store.open()
        epochs = await own_all(store)
        with locked(path):
            committing = asyncio.create_task(put(store, epochs, "a"))
            turns = 0
            while not committing.done():
                await asyncio.sleep(0.001)
                turns += 1
            with pytest.raises(StoreUnavailableError, match="Another process has locked the database"):
                await committing
        assert turns > 5, "the loop went on meanwhile"
        await put(store, epochs, "a")
        await store.close()

    asyncio.run(question())


@pytest.mark.parametrize("writer_thread", [False, True])
def test_a_short_lock_is_waited_for(path: Path, writer_thread: bool) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        with locked(path):
            committing = asyncio.create_task(put(store, epochs, "a"))
            await asyncio.sleep(0.02)
            assert not committing.done()
        await committing
        assert await store.instance("a") == instance("a")

    opened(path, question, writer_thread=writer_thread)


# --- files that go away while they are open


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("another")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.parametrize("writer_thread", [False, True])
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("harm", [delete, replace])
def test_what_is_written_is_what_the_path_names(
    path: Path, harm: Callable[[Path], None], end: str, writer_thread: bool
) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a")
        harm(path.with_name(f"hub.db{end}"))
        for _ in range(2):
            what = "deleted" if harm is delete else "replaced by another file"
            with pytest.raises(StoreReplacedError, match=rf"hub\.db{end} was {what} while the database was open"):
                await put(store, epochs, "b")

    opened(path, question, writer_thread=writer_thread)


@pytest.mark.parametrize("harm", [delete, replace])
def test_what_was_acknowledged_is_saved_if_only_the_log_goes_away(path: Path, harm: Callable[[Path], None]) -> None:
    async def lose(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a")
        harm(path.with_name("hub.db-wal"))
        with pytest.raises(StoreReplacedError):
            await put(store, epochs, "b")

    async def look(store: SqliteStore) -> None:
        assert await store.instance("a") == instance("a")

    opened(path, lose)
    opened(path, look)


def test_the_log_of_a_database_that_went_away_is_not_taken_for_that_of_the_new_one(path: Path) -> None:
    async def make(store: SqliteStore) -> None:
        await put(store, await own_all(store), "restored")

    async def lose(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "lost")
        restored.rename(path)
        with pytest.raises(StoreReplacedError):
            await put(store, epochs, "b")

    async def look(store: SqliteStore) -> None:
        assert [each.id for each in await store.instances(InstanceFilter(), None, 10)] == ["restored"]

    restored = path.with_name("restored.db")
    opened(restored, make)
    opened(path, lose)
    opened(path, look)
    assert damage(path) is None


def test_what_was_put_in_the_place_of_a_database_is_left_alone(path: Path) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        delete(path)
        with pytest.raises(StoreReplacedError):
            await put(store, epochs, "a")
        for end in ("", "-wal", "-shm"):
            path.with_name(f"hub.db{end}").write_text("another's")

    opened(path, question)
    assert [path.with_name(f"hub.db{end}").read_text() for end in ("", "-wal", "-shm")] == ["another's"] * 3


def test_a_link_that_leads_to_another_database_is_noticed(path: Path, tmp_path: Path) -> None:
    link, other = tmp_path / "link.db", tmp_path / "other.db"
    link.symlink_to(path)
    opened(other, nothing)

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a")
        link.unlink()
        link.symlink_to(other)
        with pytest.raises(StoreReplacedError, match=r"link\.db was replaced"):
            await put(store, epochs, "b")

    opened(link, question)


def test_what_others_could_read_is_closed_to_them(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def question(store: SqliteStore) -> None:
        await store.secret()
        names = [f"hub.db{end}" for end in ("", "-wal", "-shm", ".secret")]
        assert [path.with_name(each).stat().st_mode & 0o777 for each in names] == [0o600] * 4

    opened(path, question)
    assert not caplog.records
    for end in ("", ".secret"):
        path.with_name(f"hub.db{end}").chmod(0o644)
    opened(path, question)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        f"Others could read {path}",
        f"Others could read {path}.secret",
    ]


def test_files_of_others_that_all_can_read_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path, nothing)
    path.chmod(0o644)

    def not_ours(self: Path, mode: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", not_ours)
        with pytest.raises(StoreError, match=r"Let its owner run: chmod 600 .*hub\.db$"):
            opened(path, nothing)
    opened(path, nothing)


def test_a_secret_is_written_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a crash while it is written leaves nothing that keeps the next start from making one."""

    async def question(store: SqliteStore) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", power_loss)
            with pytest.raises(RuntimeError):
                await store.secret()
        assert not path.with_name("hub.db.secret").exists()
        secret = await store.secret()
        assert len(secret) == 32
        assert await store.secret() == secret

    def power_loss(self: Path, target: Path) -> None:
        raise RuntimeError

    opened(path, question)
    assert sorted(each.name for each in path.parent.iterdir()) == ["hub.db", "hub.db.lock", "hub.db.secret"]


# --- the file and its schema


def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    opened(path, nothing)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SchemaTooNewError, match="has schema 99; this Bide knows 1"):
        opened(path, nothing)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    opened(path, nothing)  # the refusal let go of the lock


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"hub\.db cannot be used as a database"):
            opened(path, nothing)
    assert path.read_bytes() == content


@pytest.mark.parametrize("writer_thread", [False, True])
def test_a_missing_directory_is_named(tmp_path: Path, writer_thread: bool) -> None:
    with pytest.raises(StoreError, match=r"missing/hub\.db cannot be opened: No such file or directory"):
        opened(tmp_path / "missing" / "hub.db", nothing, writer_thread=writer_thread)


def test_an_empty_file_gets_its_tables(path: Path) -> None:
    path.touch()

    async def question(store: SqliteStore) -> None:
        await put(store, await own_all(store), "a")

    opened(path, question)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    db.close()
    assert {"instances", "history", "activities", "timers", "waits", "inbox", "partitions"} <= tables


def test_a_migration_that_fails_leaves_nothing(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE waits (somebody TEXT)")  # somebody else's: the schema cannot be made
    db.close()
    with pytest.raises(StoreError, match="table waits already exists"):
        opened(path, nothing)
    with sqlite3.connect(path) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["waits"]
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    db.close()


# --- durability


@pytest.mark.parametrize("writer_thread", [False, True])
def test_a_commit_is_on_the_disk_when_it_returns(path: Path, writer_thread: bool) -> None:
    async def question(store: SqliteStore) -> None:
        modes = [
            await store._write(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("journal_mode", "synchronous", "fullfsync", "mmap_size")
        ]
        assert modes == ["wal", 2, 1, 0]

    opened(path, question, writer_thread=writer_thread)


def test_a_row_that_has_grown_is_the_new_one(path: Path) -> None:
    """Small rows that changed last are kept in memory; a large one takes the place of the small one there was."""

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        for output in (SMALL, Raw(b'"' + b"large" * 1_000 + b'"'), SMALL):
            row = instance(output_json=output)
            await put(store, epochs, instances={"a": row})
            assert await store.instance("a") == row

    opened(path, question)


def test_a_commit_that_nobody_waited_for_is_seen(path: Path) -> None:
    """Whoever waits for a commit may be gone before its end: it happens all the same."""

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a")
        for turns in range(1_000):  # until the thread has begun before the caller goes
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # so that it does not end before
            committing = asyncio.create_task(put(store, epochs, instances={"a": instance(name=f"after {turns}")}))
            for _ in range(turns):
                await asyncio.sleep(0)
            committing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await committing
            other.close()
            await store.verdicts("nobody")  # comes after it
            (row,) = await store.rows(["a"])
            assert await store.instance("a") == row
            if row.name != "order":
                return
        raise AssertionError("no commit went on without its caller")

    opened(path, question, writer_thread=True)


@pytest.mark.parametrize("writer_thread", [False, True])
@pytest.mark.parametrize("table", ["instances", "history", "activities", "timers", "waits", "inbox"])
def test_an_error_in_the_middle_of_a_commit_leaves_nothing(path: Path, table: str, writer_thread: bool) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        execute(path, f"CREATE TRIGGER boom BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'injected'); END")
        batch = everything("a", epochs)
        batch.history.append(step("a", 1, EventRaised("large", LARGE)))  # a small one is in its instance's row
        with pytest.raises(DataRefusedError, match="injected"):
            await store.commit(batch)
        await nothing_of(store, "a")
        execute(path, "DROP TRIGGER boom")
        await store.commit(batch)
        assert await store.instance("a") == instance("a")

    opened(path, question, writer_thread=writer_thread)


def test_history_is_never_written_twice(path: Path) -> None:
    async def question(store: Store) -> None:
        epochs = await own_all(store)
        await store.commit(everything("a", epochs))
        with pytest.raises(DataRefusedError):
            await store.commit(everything("a", epochs))
        assert len(await store.history("a")) == 1
        assert len(await store.inbox(range(PARTITIONS), BEFORE_ALL, 10)) == 2

    opened(path, question)


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_a_step_is_written_once_wherever_it_is_kept(path: Path, data: Raw) -> None:
    async def question(store: Store) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a", history=[step("a", 0, ExecutionStarted("order"))])
        again = [step("a", 1, EventRaised("x", data))]
        await put(store, epochs, "a", history=again)
        with pytest.raises(DataRefusedError):
            await put(store, epochs, "a", history=again)
        with pytest.raises(DataRefusedError):
            await put(store, epochs, "a", history=[step("a", 3, EventRaised("x", data))])  # one is missing
        assert [each.seq for each in await store.history("a")] == [0, 1]

    opened(path, question)


def test_a_step_of_an_instance_that_is_not_there_is_refused(path: Path) -> None:
    async def question(store: Store) -> None:
        epochs = await own_all(store)
        with pytest.raises(DataRefusedError, match="not in the database"):
            await put(store, epochs, "a", history=[step("a", 1, EventRaised("x", SMALL))])
        await nothing_of(store, "a")

    opened(path, question)


def test_histories_are_in_order_wherever_their_steps_are_kept(path: Path) -> None:
    """The first are in the instance's row, unless they are large; the others are not."""
    facts: list[Fact] = [EventRaised("x", LARGE if seq in (1, 4, 20) else SMALL) for seq in range(30)]

    async def question(store: Store) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "a", history=[step("a", seq, fact) for seq, fact in enumerate(facts[:3])])
        for seq, fact in enumerate(facts[3:], start=3):
            await put(store, epochs, "a", history=[step("a", seq, fact)])
        assert [each.facts for each in await store.history("a")] == [(fact,) for fact in facts]
        for seq in (25, 6, 4, 1, 0):
            again = [step("a", seq, ExecutionRewound())]
            await put(store, epochs, "a", history=again, undone={"a": (0, seq)})
            found = [each.facts[0] for each in await store.history("a")]
            assert found == [*facts[:seq], ExecutionRewound()]

    opened(path, question)


def test_a_committed_batch_survives_a_kill(path: Path) -> None:
    script = HOLDER.replace(
        "asyncio.run(SqliteStore(Path(sys.argv[1])).open())",
        "from bide.testing.conformance import everything, own_all\n"
        "async def main():\n"
        "    store = SqliteStore(Path(sys.argv[1]))\n"
        "    await store.open()\n"
        "    await store.commit(everything('a', await own_all(store)))\n"
        "asyncio.run(main())",
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        writer.kill()

    async def question(store: SqliteStore) -> None:
        assert await store.instance("a") == instance("a")

    opened(path, question)


def execute(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


# --- from one schema to the next


def test_an_empty_file_is_migrated_once(path: Path) -> None:
    sqlite3.connect(path).close()
    assert (status(path).schema, status(path).newest_schema) == (0, 1)
    assert migrate(path) == (0, 1)
    assert migrate(path) == (1, 1)

    async def question(store: SqliteStore) -> None:
        await put(store, await own_all(store), "new")

    opened(path, question)


def test_what_is_no_database_cannot_be_migrated(path: Path) -> None:
    for look in (status, migrate):
        with pytest.raises(StoreError, match="There is no database"):
            look(path)
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    for look in (status, migrate):
        with pytest.raises(StoreError, match="cannot be"):
            look(path)


# --- copies


def test_a_copy_is_made_while_the_store_is_in_use(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, "before")
        assert status(path).in_use_by == os.getpid()
        with pytest.raises(StoreInUseError):
            migrate(path)
        backup(path, copy)
        await put(store, epochs, "after")

    opened(path, question)
    assert status(path).in_use_by is None
    assert copy.stat().st_mode & 0o777 == 0o600

    async def look(store: SqliteStore) -> None:
        assert [each.id for each in await store.instances(InstanceFilter(), None, 10)] == ["before"]

    opened(copy, look)
    with pytest.raises(StoreError, match="exists already"):
        backup(path, copy)
    with pytest.raises(StoreError, match="There is no database"):
        backup(tmp_path / "nothing.db", tmp_path / "other.db")
    with pytest.raises(StoreError, match="cannot be copied"):
        backup(path, tmp_path / "no such directory" / "copy.db")


# --- lists


def test_a_list_does_not_hold_up_a_step(path: Path) -> None:
    async def question(store: SqliteStore) -> None:
        epochs = await own_all(store)
        await put(store, epochs, *(f"i{number:05}" for number in range(3_000)))
        listing = asyncio.create_task(store.instances(InstanceFilter(name="nothing"), None, 10))
        await asyncio.sleep(0)
        await put(store, epochs, "step")
        assert await listing == []

    opened(path, question)


@pytest.mark.parametrize(
    "query",
    [
        listing.instances(
            InstanceFilter(statuses=(RuntimeStatus.FAILED,), name="x"), InstanceCursor(1, "a"), 10, SQLITE
        ),
        listing.counts(InstanceFilter(statuses=(RuntimeStatus.FAILED,)), SQLITE),
    ],
)
def test_filters_read_the_index_alone(path: Path, query: tuple[str, list[object]]) -> None:
    opened(path, nothing)
    with sqlite3.connect(path) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    db.close()
    assert any("USING COVERING INDEX instances_listed" in line for line in plan), plan
    assert not any(line.startswith("SCAN instances") and "INDEX" not in line for line in plan), plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (listing.failures(5, FailureCursor(1, "a"), 10, SQLITE), "USING INDEX instances_failed"),
        (listing.timers(5, TimerCursor(1, "a", 0, 1), 10), "SEARCH timers USING PRIMARY KEY"),
    ],
)
def test_a_page_is_found_in_an_index_and_never_sorted(
    path: Path, query: tuple[str, list[object]], index: str
) -> None:
    opened(path, nothing)
    with sqlite3.connect(path) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
    db.close()
    assert any(index in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def test_waits_are_read_in_the_order_of_their_index(path: Path) -> None:
    opened(path, nothing)
    query, values = listing.waits(WaitFilter(due_before=5), WaitCursor(1, "a", 1), 10, SQLITE)
    with sqlite3.connect(path) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    db.close()
    assert any("USING INDEX waits_due" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
