"""Migration files: how they are split into statements, and what they may look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.store.migrate import Migration, MigrationInvalid, _check_version, _pending, migrations, statements

FUNCTION = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n    -- kept\n    RETURN 1;\nEND;\n$$;"
BODIES = st.text("abc(),' \t", min_size=1, max_size=20).filter(lambda text: text.strip())


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        ("-- nothing\n\n", []),
        ("SELECT 1;", ["SELECT 1;"]),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\nSELECT 2;\n", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT 1;  \n  -- why\nSELECT\n    2;\n", ["SELECT 1;", "SELECT\n    2;"]),
        ("SELECT ';' AS a, 2;\n", ["SELECT ';' AS a, 2;"]),
        ("SELECT 1; SELECT 2;\n", ["SELECT 1; SELECT 2;"]),
        (
            f"{FUNCTION}\nSELECT 1;",
            [FUNCTION, "SELECT 1;"],
        ),
        ("DO $$ BEGIN NULL; END $$;\nSELECT 1;", ["DO $$ BEGIN NULL; END $$;", "SELECT 1;"]),
    ],
)
def test_a_semicolon_at_the_end_of_a_line_ends_a_statement(sql: str, expected: list[str]) -> None:
    assert statements(sql) == expected


@given(st.lists(BODIES, max_size=8), st.sampled_from(["", "-- a remark;\n", "\n", "-- $$ odd\n"]))
def test_statements_come_back_in_order(bodies: list[str], between: str) -> None:
    sql = "".join(f"{between}{body};\n" for body in bodies)
    assert statements(sql) == [f"{body};".strip() for body in bodies]


def test_the_migrations_of_this_version_are_numbered_without_a_gap() -> None:
    known = migrations()
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert all(statements(migration.sql) for migration in known)


def test_what_has_been_applied_is_not_applied_again() -> None:
    known = [Migration(1, "a", "SELECT 1;"), Migration(2, "b", "SELECT 2;"), Migration(3, "c", "SELECT 3;")]
    assert _pending(known, {}, "db") == known
    assert _pending(known, {1: known[0].fingerprint}, "db") == known[1:]
    assert _pending(known, {migration.number: migration.fingerprint for migration in known}, "db") == []


def test_a_newer_database_is_left_alone() -> None:
    known = [Migration(1, "a", "SELECT 1;")]
    with pytest.raises(MigrationInvalid, match="'db' has migration 4, which this version does not know"):
        _pending(known, {1: known[0].fingerprint, 4: "0" * 16}, "db")


@pytest.mark.parametrize("others", [{}, {2: "2" * 16, 3: "3" * 16}], ids=["alone", "with later ones"])
def test_a_database_with_another_first_migration_is_not_called_newer(others: dict[int, str]) -> None:
    before = Migration(1, "a", "SELECT 1;").fingerprint
    with pytest.raises(MigrationInvalid) as caught:
        _pending([Migration(1, "a", "SELECT 2;")], {1: before, **others}, "db")
    assert "the database 'db' was made by a version of Lineside that was never released" in str(caught.value)
    assert "make an empty database" in str(caught.value)


def test_a_server_that_is_too_old_is_said() -> None:
    with pytest.raises(MigrationInvalid, match="PostgreSQL 14 is too old: Lineside needs 15 or newer"):
        _check_version(140_012)
    _check_version(150_000)
