from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysplit.errors import RunError
from raysplit.storage import open_tables, read_table, rewind
from raysplit.storage.schemas import RENAMED_SINCE_1, SCHEMAS, deterministic_columns
from raysplit.storage.stream import batch_message, schema_message
from tests.storage.rows import channel_row, client_rows, evaluation_row, round_row


def write(folder: Path, last: int, first: int = 1) -> None:
    with open_tables(folder) as tables:
        for number in range(first, last + 1):
            tables.rounds.append(round_row(number))
            tables.clients.append(client_rows(number))
            tables.channels.append(channel_row(number))
            if number % 2 == 0:
                tables.evaluations.append(evaluation_row(number, 0.5))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_column_says_its_unit_and_what_it_is() -> None:
    for schema in SCHEMAS.values():
        for field in schema:
            assert field.metadata[b"unit"] and field.metadata[b"description"], field


def test_columns_of_the_clock_are_marked_as_not_deterministic() -> None:
    marked = {name: set(schema.names) - set(deterministic_columns(schema)) for name, schema in SCHEMAS.items()}
    assert marked["rounds"] == {"wall_s", "clients_per_s", "peak_memory_bytes", "ray_calls", "retries"}
    assert marked["aggregation"] == marked["attacks"] == {"seconds"}
    assert marked["clients"] == marked["channels"] == marked["evaluations"] == set()


def test_units_survive_the_file(tmp_path: Path) -> None:
    write(tmp_path, 1)
    assert read_table(tmp_path / "rounds.arrow").schema.equals(SCHEMAS["rounds"], check_metadata=True)


def test_new_tables_are_readable_and_empty(tmp_path: Path) -> None:
    with open_tables(tmp_path / "metrics"):
        for name, schema in SCHEMAS.items():
            table = read_table(tmp_path / "metrics" / f"{name}.arrow")
            assert table.num_rows == 0 and table.schema == schema


def test_a_round_is_readable_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        for number in (1, 2, 3):
            tables.rounds.append(round_row(number))
            assert read_table(tmp_path / "rounds.arrow").column("round").to_pylist() == list(range(1, number + 1))


def test_any_arrow_reader_reads_the_file(tmp_path: Path) -> None:
    write(tmp_path, 3)
    with pa.OSFile(str(tmp_path / "rounds.arrow")) as file:
        assert pa.ipc.open_stream(file).read_all().num_rows == 3


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path, 2)
    assert read_table(tmp_path / "clients.arrow").to_pylist() == client_rows(1) + client_rows(2)
    assert read_table(tmp_path / "rounds.arrow").to_pylist() == [round_row(1), round_row(2)]


def test_a_diverged_loss_is_kept_as_it_is(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        tables.rounds.append(round_row(1, train_loss=math.nan, update_norm=math.inf, diverged=True))
    row = read_table(tmp_path / "rounds.arrow").to_pylist()[0]
    assert math.isnan(row["train_loss"]) and row["update_norm"] == math.inf


def test_columns_from_numpy_equal_rows(tmp_path: Path) -> None:
    rows = client_rows(1, clients=3)
    with open_tables(tmp_path / "rows") as tables:
        tables.clients.append(rows)
    with open_tables(tmp_path / "columns") as tables:
        names = [name for name in rows[0] if name != "update_norm"]
        tables.clients.append_columns({name: np.array([row[name] for row in rows]) for name in names})
    assert contents(tmp_path / "rows") == contents(tmp_path / "columns")


def test_no_rows_append_nothing(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        before = contents(tmp_path)
        tables.clients.append([])
        assert contents(tmp_path) == before


def test_nullable_columns_may_be_left_out_and_others_may_not(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        row = client_rows(1)[0]
        del row["train_loss"]
        tables.clients.append(row)
        assert read_table(tmp_path / "clients.arrow").column("train_loss").to_pylist() == [None]
        del row["samples"]
        with pytest.raises(TypeError, match="column 'samples' of table 'clients' was given no value"):
            tables.clients.append(row)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampels": 1}, "table 'rounds' has no column 'sampels'; its columns are round, train_loss"),
        ({"samples": 1.5}, r"column 'samples' of table 'rounds' takes int64, but was given 1.5 \(float\)"),
        ({"samples": True}, "takes int64, but was given True"),
        ({"attacked": 1}, "takes bool, but was given 1"),
        ({"train_loss": "low"}, "takes double, but was given 'low'"),
        ({"train_loss": True}, "takes double, but was given True"),
        ({"samples": None}, "may not be empty"),
        ({"clients": 2**31}, "takes int32, which cannot hold"),
        ({"samples": 2**63}, "takes int64, which cannot hold"),
    ],
)
def test_a_wrong_column_is_an_error_and_writes_nothing(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with open_tables(tmp_path) as tables:
        with pytest.raises(TypeError, match=message):
            tables.rounds.append(round_row(1, **changes))
        tables.rounds.append(round_row(1))
    assert read_table(tmp_path / "rounds.arrow").to_pylist() == [round_row(1)]


def test_unequal_columns_are_an_error(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables, pytest.raises(TypeError, match=r"unequal lengths \[1, 2\]"):
        tables.channels.append_columns({"round": [1], "channel": ["smashed", "updates"]})


def test_cut_at_any_byte_a_table_keeps_its_complete_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # thousands of them would wait for the disk
    path = tmp_path / "channels.arrow"
    sizes = []
    with open_tables(tmp_path) as tables:
        for number in (1, 2, 3):
            sizes.append(path.stat().st_size)
            tables.channels.append(channel_row(number))
    data = path.read_bytes()
    ends = [*sizes[1:], len(data)]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert read_table(path).column("round").to_pylist() == list(range(1, whole + 1)), cut
        with open_tables(tmp_path) as tables:
            tables.channels.append(channel_row(9))
        assert read_table(path).column("round").to_pylist() == [*range(1, whole + 1), 9], cut


@pytest.mark.parametrize("tail", [b"\0" * 512, b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\0", bytes(range(7, 84))])
def test_what_a_power_cut_leaves_behind_the_last_batch_is_dropped(tmp_path: Path, tail: bytes) -> None:
    write(tmp_path, 2)
    with open(tmp_path / "rounds.arrow", "ab") as file:
        file.write(tail)
    assert read_table(tmp_path / "rounds.arrow").num_rows == 2
    write(tmp_path, 3, first=3)
    assert read_table(tmp_path / "rounds.arrow").column("round").to_pylist() == [1, 2, 3]


def test_any_byte_changed_before_the_last_batch_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "channels.arrow"
    with open_tables(tmp_path) as tables:
        start = path.stat().st_size
        tables.channels.append(channel_row(1))
        end = path.stat().st_size
        tables.channels.append(channel_row(2))
    data = path.read_bytes()
    for place in range(start, end):
        for value in (data[place] ^ 0x01, data[place] ^ 0x80, 0xFF if data[place] != 0xFF else 0):
            path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            with pytest.raises(
                RunError, match=r"channels\.arrow is damaged at byte \d+, with whole rounds after it; restore"
            ):
                read_table(path)


def test_any_byte_changed_in_the_schema_never_crashes_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "channels.arrow"
    with open_tables(tmp_path) as tables:
        end = path.stat().st_size
        tables.channels.append(channel_row(1))
    data = path.read_bytes()
    for place in range(end):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            read_table(path)
        except RunError as error:
            assert str(path) in str(error)


def test_rewinding_and_going_on_gives_the_bytes_of_the_straight_run(tmp_path: Path) -> None:
    write(tmp_path / "straight", 6)
    write(tmp_path / "resumed", 5)
    with open(tmp_path / "resumed" / "rounds.arrow", "ab") as file:
        file.write(b"\xff\xff\xff\xff\x40\0\0\0cut")
    rewind(tmp_path / "resumed", 3)
    assert read_table(tmp_path / "resumed" / "clients.arrow").num_rows == 12
    write(tmp_path / "resumed", 6, first=4)
    assert contents(tmp_path / "resumed") == contents(tmp_path / "straight")


def test_rewinding_splits_a_batch_that_spans_rounds(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        tables.channels.append([channel_row(1), channel_row(2), channel_row(3)])
        tables.rounds.append([round_row(1), round_row(2)])
    rewind(tmp_path, 2)
    assert read_table(tmp_path / "channels.arrow").column("round").to_pylist() == [1, 2]


def test_rewinding_to_the_start_empties_the_tables(tmp_path: Path) -> None:
    write(tmp_path, 2)
    rewind(tmp_path, 0)
    assert all(read_table(path).num_rows == 0 for path in tmp_path.iterdir())


def test_rewinding_mends_damage_after_the_checkpoint_only(tmp_path: Path) -> None:
    write(tmp_path, 5)
    path = tmp_path / "rounds.arrow"
    data = bytearray(path.read_bytes())
    step = (len(data) - SCHEMAS["rounds"].serialize().size) // 5
    data[len(data) - step - 30] ^= 1  # in the fourth of five batches
    path.write_bytes(data)
    with pytest.raises(RunError, match="damaged at byte"):
        rewind(tmp_path, 4)
    rewind(tmp_path, 3)
    assert read_table(path).column("round").to_pylist() == [1, 2, 3]


def test_a_checkpoint_ahead_of_the_table_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with pytest.raises(RunError, match="ends at round 2, before the checkpoint of round 4"):
        rewind(tmp_path, 4)


def test_a_crash_while_rewinding_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 3)
    before = contents(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        rewind(tmp_path, 1)
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_the_table_whole_and_says_so(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        tables.rounds.append(round_row(1))
        real = tables.rounds._file

        class Full:
            fileno, truncate = real.fileno, real.truncate

            def write(self, data: memoryview) -> int:
                if len(data) > 200:
                    return real.write(data[:200])
                raise OSError(28, "No space left on device")

        tables.rounds._file = Full()  # type: ignore[assignment]
        with pytest.raises(
            RunError, match=r"rounds\.arrow cannot be written \(No space left on device\); free some space"
        ):
            tables.rounds.append(round_row(2))
        tables.rounds._file = real
        tables.rounds.append(round_row(2))
    assert read_table(tmp_path / "rounds.arrow").to_pylist() == [round_row(1), round_row(2)]


def test_a_reader_beside_the_writer_always_sees_a_whole_beginning(tmp_path: Path) -> None:
    seen: list[int] = []
    with open_tables(tmp_path) as tables:

        def run() -> None:
            for number in range(1, 101):
                tables.rounds.append(round_row(number))

        writer = threading.Thread(target=run)
        writer.start()
        while writer.is_alive():
            rounds = read_table(tmp_path / "rounds.arrow").column("round").to_pylist()
            assert rounds == list(range(1, len(rounds) + 1))
            seen.append(len(rounds))
        writer.join()
    assert seen == sorted(seen)


def test_a_missing_a_foreign_and_a_newer_table_get_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rounds.arrow"
    with pytest.raises(RunError, match=r"rounds\.arrow is missing"):
        read_table(path)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(RunError, match="is not an Arrow table of a RaySplit run"):
        read_table(path)
    path.write_bytes(pa.schema([pa.field("a", pa.int32())]).serialize().to_pybytes())
    with pytest.raises(RunError, match="is an Arrow stream, but not a table of a RaySplit run"):
        read_table(path)
    newer = SCHEMAS["rounds"].with_metadata({"raysplit.table": "rounds", "raysplit.format": "3"})
    path.write_bytes(newer.serialize().to_pybytes())
    with pytest.raises(RunError, match="is of format 3, newer than this RaySplit reads"):
        read_table(path)


def test_a_table_with_other_columns_is_read_but_not_appended_to(tmp_path: Path) -> None:
    older = SCHEMAS["rounds"].remove(3)
    (tmp_path / "rounds.arrow").write_bytes(older.serialize().to_pybytes())
    assert read_table(tmp_path / "rounds.arrow").schema == older
    with pytest.raises(RunError, match="has other columns than this RaySplit writes"):
        open_tables(tmp_path)


def test_a_killed_writer_leaves_a_readable_table_that_goes_on(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from raysplit.storage import open_tables\n"
        "from tests.storage.rows import client_rows, round_row\n"
        "tables = open_tables(sys.argv[1])\n"
        "for number in range(1, 10**6):\n"
        "    tables.clients.append(client_rows(number, 50))\n"
        "    tables.rounds.append(round_row(number))\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    rounds = tmp_path / "rounds.arrow"
    while not rounds.exists() or read_table(rounds).num_rows < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = read_table(rounds).num_rows
    assert read_table(tmp_path / "clients.arrow").num_rows in (50 * done, 50 * (done + 1))
    rewind(tmp_path, 10)
    write(tmp_path, 11, first=11)
    assert read_table(rounds).column("round").to_pylist() == list(range(1, 12))
    assert read_table(tmp_path / "clients.arrow").num_rows == 50 * 10 + 4


def test_a_table_of_format_1_is_read_under_todays_names(tmp_path):
    today = SCHEMAS["detection"]
    old_names = {new: old for old, new in RENAMED_SINCE_1["detection"].items()}
    fields = [field.with_name(old_names.get(field.name, field.name)) for field in today]
    old = pa.schema(fields, metadata={"raysplit.table": "detection", "raysplit.format": "1"})
    row = pa.record_batch([pa.array([number], field.type) for number, field in enumerate(old)], schema=old)
    path = tmp_path / "detection.arrow"
    path.write_bytes(schema_message(old) + batch_message(row))
    assert "visits" in old.names and read_table(path).column_names == today.names
    assert read_table(path).column("split_steps").to_pylist() == [1]


def test_columns_that_came_later_are_there_without_values_in_a_table_from_before(tmp_path: Path) -> None:
    later = ["balanced_accuracy", "macro_f1", "class_samples", "class_accuracy", "class_predicted"]
    now = SCHEMAS["evaluations"]
    before = pa.schema([field for field in now if field.name not in later], metadata=now.metadata)
    row = {name: None for name in before.names} | evaluation_row(2, 0.5)
    batch = pa.RecordBatch.from_pylist([row], before)
    path = tmp_path / "evaluations.arrow"
    path.write_bytes(schema_message(before) + batch_message(batch))
    table = read_table(path)
    assert table.schema.equals(now, check_metadata=True)
    assert table.to_pylist() == [{name: row.get(name) for name in now.names}]
    with pytest.raises(RunError, match="resume it with the version that started it"):
        open_tables(tmp_path)


def test_a_list_of_numbers_is_a_value_and_its_numbers_are_checked(tmp_path: Path) -> None:
    with open_tables(tmp_path) as tables:
        tables.evaluations.append(evaluation_row(1, 0.5, class_samples=[3, 0], class_accuracy=[1, None]))
        for wrong in ([1.5], [True], "12", 3):
            with pytest.raises(TypeError, match="column 'class_samples' of table 'evaluations' takes list"):
                tables.evaluations.append(evaluation_row(2, 0.5, class_samples=wrong))
    row = read_table(tmp_path / "evaluations.arrow").to_pylist()[0]
    assert (row["class_samples"], row["class_accuracy"], row["class_predicted"]) == ([3, 0], [1.0, None], None)
