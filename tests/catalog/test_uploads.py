import hashlib
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from catalog import storage, uploads
from catalog.errors import CatalogError, StorageFull
from catalog.models import Upload, utcnow

ME, OTHER = uuid4(), uuid4()
CONTENT = bytes(range(256)) * 400  # 102400 bytes
SHA = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 1 << 30


def announce(
    db: Session, home: Path, account: UUID = ME, content: bytes = CONTENT, limit: int = LIMIT
) -> Upload:
    found = uploads.announce(
        home, db, account, hashlib.sha256(content).hexdigest(), len(content), limit=limit
    )
    db.commit()
    return found


def send(db: Session, home: Path, upload: Upload, begin: int, end: int, account: UUID = ME) -> Upload:
    return uploads.append(home, db, account, str(upload.id), begin, CONTENT[begin:end])


def test_a_file_comes_in_pieces_and_is_checked_at_the_end(db: Session, tmp_path: Path) -> None:
    upload = announce(db, tmp_path)
    for begin in range(0, len(CONTENT), 40_000):
        assert not uploads.is_complete(upload)
        upload = send(db, tmp_path, upload, begin, min(len(CONTENT), begin + 40_000))
    assert uploads.is_complete(upload)
    path = uploads.path_of(tmp_path, upload)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    uploads.take(tmp_path, db, upload, tmp_path / "staging" / "a" / "model.onnx")
    db.commit()
    assert (tmp_path / "staging" / "a" / "model.onnx").read_bytes() == CONTENT
    assert uploads.list_uploads(db, ME) == []


def test_the_same_announcement_takes_up_where_it_was(db: Session, tmp_path: Path) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    again = announce(db, tmp_path)
    assert (again.id, again.received) == (upload.id, 50_000)
    assert uploads.is_complete(send(db, tmp_path, again, 50_000, len(CONTENT)))


def test_an_upload_is_nobody_elses(db: Session, tmp_path: Path) -> None:
    upload = announce(db, tmp_path)
    send(db, tmp_path, upload, 0, len(CONTENT))
    assert announce(db, tmp_path, OTHER).received == 0
    assert uploads.complete_of(db, OTHER, SHA, len(CONTENT)) is None
    for identity in (str(upload.id), "nonsense", "../../market.db", str(uuid4())):
        with pytest.raises(uploads.UnknownUpload):
            uploads.append(tmp_path, db, OTHER, identity, 0, b"x")
        with pytest.raises(uploads.UnknownUpload):
            uploads.get_upload(db, OTHER, identity)
    assert uploads.path_of(tmp_path, upload).read_bytes() == CONTENT


@pytest.mark.parametrize("begin", [0, 10, 49_999, 50_001, 10**9])
def test_a_piece_that_does_not_fit_loses_nothing(db: Session, tmp_path: Path, begin: int) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    with pytest.raises(uploads.UploadOffsetWrong) as refused:
        uploads.append(tmp_path, db, ME, str(upload.id), begin, b"x")
    assert refused.value.facts == {"offset": begin, "received": 50_000}
    assert uploads.is_complete(send(db, tmp_path, upload, 50_000, len(CONTENT)))


def test_more_than_was_announced_is_refused_and_loses_nothing(db: Session, tmp_path: Path) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    with pytest.raises(uploads.UploadTooLong):
        uploads.append(tmp_path, db, ME, str(upload.id), 50_000, CONTENT[50_000:] + b"x")
    with pytest.raises(uploads.UploadTooLong):
        uploads.append(tmp_path, db, ME, str(upload.id), 50_000, bytes(uploads.CHUNK + 1))
    assert uploads.is_complete(send(db, tmp_path, upload, 50_000, len(CONTENT)))


def test_another_digest_than_announced_begins_again(db: Session, tmp_path: Path) -> None:
    upload = announce(db, tmp_path)
    with pytest.raises(uploads.UploadCorrupted) as refused:
        uploads.append(tmp_path, db, ME, str(upload.id), 0, CONTENT[:-1] + b"?")
    assert refused.value.facts["expected"] == SHA
    assert announce(db, tmp_path).received == 0
    assert uploads.is_complete(send(db, tmp_path, upload, 0, len(CONTENT)))


def test_an_empty_file_is_there_at_once(db: Session, tmp_path: Path) -> None:
    upload = announce(db, tmp_path, content=b"")
    assert uploads.is_complete(upload)
    with pytest.raises(uploads.UploadCorrupted):
        uploads.announce(tmp_path, db, ME, "0" * 64, 0, limit=LIMIT)


def test_an_account_has_so_many_bytes_under_way_and_no_more(db: Session, tmp_path: Path) -> None:
    limit = 2 * len(CONTENT)
    announce(db, tmp_path, limit=limit)
    with pytest.raises(uploads.UploadLimit) as refused:
        announce(db, tmp_path, content=CONTENT * 2, limit=limit)
    assert refused.value.facts == {"limit": limit, "used": len(CONTENT), "size": limit}
    announce(db, tmp_path, limit=limit)  # the same file counts once
    announce(db, tmp_path, OTHER, CONTENT * 2, limit)  # and each account by itself


def test_a_disk_that_has_no_room_is_named_before_anything_is_sent(db: Session, tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        uploads.announce(tmp_path, db, ME, SHA, 1 << 49, limit=1 << 50)
    assert uploads.list_uploads(db, ME) == []


def test_a_disk_that_fills_up_loses_nothing(db: Session, tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from uuid import UUID
from sqlmodel import Session, create_engine
from catalog import uploads
from catalog.errors import StorageFull
from tests.catalog.test_uploads import CONTENT
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
url, home, account, upload = sys.argv[1:]
with Session(create_engine(url)) as db:
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    try:
        uploads.append(Path(home), db, UUID(account), upload, 50_000, CONTENT[50_000:])
    except StorageFull:
        print("full")
"""
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    url = str(db.get_bind().url)
    arguments = [url, str(tmp_path), str(ME), str(upload.id)]
    db.commit()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "full", done.stderr
    assert announce(db, tmp_path).received == 50_000
    assert uploads.is_complete(send(db, tmp_path, upload, 50_000, len(CONTENT)))


def test_a_process_killed_between_disk_and_database_loses_nothing(db: Session, tmp_path: Path) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    with uploads.path_of(tmp_path, upload).open("ab") as file:
        file.write(b"half a piece that nobody counted")
    db.expire_all()
    assert announce(db, tmp_path).received == 50_000
    assert uploads.is_complete(send(db, tmp_path, upload, 50_000, len(CONTENT)))
    assert uploads.path_of(tmp_path, upload).read_bytes() == CONTENT


def test_a_killed_sender_leaves_the_lock_open(db: Session, tmp_path: Path) -> None:
    upload = announce(db, tmp_path)
    lock = uploads.folder(tmp_path) / f".{upload.id}.lock"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom catalog.storage import only_one\n"
        "with only_one(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGKILL)
    assert uploads.is_complete(send(db, tmp_path, upload, 0, len(CONTENT)))


def test_the_same_piece_twice_at_once_is_taken_once(engine: Engine, tmp_path: Path) -> None:
    with Session(engine) as db:
        identity = str(announce(db, tmp_path).id)
    results: list[object] = []
    together = Barrier(4)

    def push() -> None:
        with Session(engine) as db:
            together.wait()
            try:
                results.append(uploads.append(tmp_path, db, ME, identity, 0, CONTENT[:60_000]).received)
            except CatalogError as error:
                results.append(error.code)

    threads = [Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["60000", *["upload-offset-wrong"] * 3]
    with Session(engine) as db:
        upload = uploads.get_upload(db, ME, identity)
        assert uploads.is_complete(send(db, tmp_path, upload, 60_000, len(CONTENT)))


def test_two_files_come_beside_each_other(engine: Engine, tmp_path: Path) -> None:
    contents = [os.urandom(200_000) for _ in range(2)]
    ends: list[bool] = []

    def bring(content: bytes) -> None:
        with Session(engine) as db:
            upload = announce(db, tmp_path, content=content)
            for begin in range(0, len(content), 20_000):
                piece = content[begin : begin + 20_000]
                upload = uploads.append(tmp_path, db, ME, str(upload.id), begin, piece)
            ends.append(uploads.is_complete(upload))

    threads = [Thread(target=bring, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [True, True]


def test_uploads_that_rest_for_a_day_are_removed(db: Session, tmp_path: Path) -> None:
    old, fresh = announce(db, tmp_path), announce(db, tmp_path, OTHER)
    send(db, tmp_path, old, 0, 1000)
    old.updated = utcnow() - timedelta(hours=25)
    db.add(old)
    db.commit()
    orphan = uploads.folder(tmp_path) / str(uuid4())
    orphan.write_bytes(b"x")
    long_ago = (utcnow() - timedelta(days=3)).timestamp()
    os.utime(orphan, (long_ago, long_ago))
    gone = uploads.path_of(tmp_path, old)
    assert uploads.expire(tmp_path, db) == 1
    db.commit()
    assert not gone.exists() and not orphan.exists()
    assert uploads.path_of(tmp_path, fresh).exists()
    with pytest.raises(uploads.UnknownUpload):
        uploads.get_upload(db, ME, str(gone.name))


def test_a_file_that_was_lost_begins_again(db: Session, tmp_path: Path) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    uploads.path_of(tmp_path, upload).unlink()
    assert announce(db, tmp_path).received == 0


def test_removing_takes_bytes_and_lock_along(db: Session, tmp_path: Path) -> None:
    upload = send(db, tmp_path, announce(db, tmp_path), 0, 50_000)
    uploads.remove(tmp_path, db, ME, str(upload.id))
    assert list(uploads.folder(tmp_path).iterdir()) == []
    assert storage.free_bytes(tmp_path) > 0
