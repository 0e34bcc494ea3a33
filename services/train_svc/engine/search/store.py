"""Optuna's storage on a file of ours."""

import copy
import json
import sqlite3
import uuid
from collections.abc import Container, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy  # a storage must return it, and it has no public name
from optuna.trial import FrozenTrial, TrialState

from services.train_svc.engine.search.schema import Database

USER, SYSTEM = "user", "system"
COLUMNS = "id, number, state, result, started, ended"


class Store(BaseStorage):
    """Studies and trials in one file, shared by processes; what was written outlives any of them.

    A trial that has ended never changes, so that it is read once.

    Args:
        path: the file; its folder is there.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self._ended: dict[int, FrozenTrial] = {}

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Make a study and return its id.

        Raises:
            DuplicatedStudyError: there is one of that name.
        """
        name = study_name or f"search-{uuid.uuid4()}"
        row = (name, json.dumps([int(direction) for direction in directions]))
        with self.database.writing() as connection:
            if connection.execute("SELECT 1 FROM studies WHERE name = ?", (name,)).fetchone():
                raise DuplicatedStudyError(f"there is a study {name!r} already")
            made = connection.execute("INSERT INTO studies (name, directions) VALUES (?, ?)", row).lastrowid
        assert made is not None
        return made

    def delete_study(self, study_id: int) -> None:
        """Remove a study and its trials."""
        with self.database.writing() as connection:
            _study(connection, study_id)
            for table in ("params", "trial_attrs", "reports"):
                connection.execute(
                    f"DELETE FROM {table} WHERE trial IN (SELECT id FROM trials WHERE study = ?)", (study_id,)
                )
            for table, column in (("trials", "study"), ("study_attrs", "study"), ("studies", "id")):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (study_id,))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        """Note something of a study."""
        self._note_study(study_id, USER, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        """Note something of a study, for Optuna."""
        self._note_study(study_id, SYSTEM, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study; KeyError: there is none of that name."""
        row = self.database.reading().execute("SELECT id FROM studies WHERE name = ?", (study_name,)).fetchone()
        if row is None:
            raise KeyError(f"there is no study {study_name!r}")
        return int(row[0])

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return str(_study(self.database.reading(), study_id)[0])

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return where each value of a study shall go."""
        return [StudyDirection(each) for each in json.loads(_study(self.database.reading(), study_id)[1])]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what is noted of a study."""
        return self._noted_study(study_id, USER)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what Optuna noted of a study."""
        return self._noted_study(study_id, SYSTEM)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies by id."""
        found = self.database.reading().execute("SELECT id, name FROM studies ORDER BY id").fetchall()
        return [
            FrozenStudy(
                study_name=name,
                direction=None,
                directions=self.get_study_directions(study_id),
                user_attrs=self.get_study_user_attrs(study_id),
                system_attrs=self.get_study_system_attrs(study_id),
                study_id=study_id,
            )
            for study_id, name in found
        ]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, which runs unless the template says otherwise, and return its id."""
        template = template_trial
        state = template.state if template else TrialState.RUNNING
        started = template.datetime_start if template else datetime.now()
        ended = template.datetime_complete if template else None
        result = json.dumps(template.values) if template and template.values is not None else None
        with self.database.writing() as connection:
            _study(connection, study_id)
            number = connection.execute("SELECT COUNT(*) FROM trials WHERE study = ?", (study_id,)).fetchone()[0]
            trial_id = connection.execute(
                "INSERT INTO trials (study, number, state, result, started, ended) VALUES (?, ?, ?, ?, ?, ?)",
                (study_id, number, int(state), result, _text(started), _text(ended)),
            ).lastrowid
            assert trial_id is not None
            if template:
                _write_template(connection, trial_id, template)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Note what a parameter is in a trial; ValueError: it is of another kind in other trials of the study."""
        with self.database.writing() as connection:
            self._check_open(connection, trial_id)
            other = connection.execute(
                "SELECT distribution FROM params JOIN trials ON trials.id = params.trial "
                "WHERE params.name = ? AND trials.study = (SELECT study FROM trials WHERE id = ?) LIMIT 1",
                (param_name, trial_id),
            ).fetchone()
            if other:
                check_distribution_compatibility(json_to_distribution(other[0]), distribution)
            _write_param(connection, trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change a trial's state; False: another one took the waiting trial first."""
        with self.database.writing() as connection:
            found = self._check_open(connection, trial_id)
            if state == TrialState.RUNNING and found != TrialState.WAITING:
                return False
            connection.execute("UPDATE trials SET state = ? WHERE id = ?", (int(state), trial_id))
            if values is not None:
                connection.execute("UPDATE trials SET result = ? WHERE id = ?", (json.dumps(list(values)), trial_id))
            stamp = "started" if state == TrialState.RUNNING else "ended" if state.is_finished() else ""
            if stamp:
                connection.execute(f"UPDATE trials SET {stamp} = ? WHERE id = ?", (_text(datetime.now()), trial_id))
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Note what was measured on the way."""
        with self.database.writing() as connection:
            self._check_open(connection, trial_id)
            # As text, since SQLite keeps no NaN.
            row = (trial_id, step, json.dumps(float(intermediate_value)))
            connection.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?)", row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        """Note something of a trial."""
        self._note_trial(trial_id, USER, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        """Note something of a trial, for Optuna."""
        self._note_trial(trial_id, SYSTEM, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        row = self.database.reading().execute(f"SELECT {COLUMNS} FROM trials WHERE id = ?", (trial_id,)).fetchone()
        if row is None:
            raise KeyError(f"there is no trial of the id {trial_id}")
        return self._trial(row)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study by number, or those in some states."""
        connection = self.database.reading()
        _study(connection, study_id)
        query = f"SELECT {COLUMNS} FROM trials WHERE study = ? ORDER BY number"
        rows = connection.execute(query, (study_id,)).fetchall()
        found = [self._trial(row) for row in rows if states is None or TrialState(row[2]) in states]
        return copy.deepcopy(found) if deepcopy else found

    def remove_session(self) -> None:
        """Close this thread's connection."""
        self.database.close()

    def _note_study(self, study_id: int, kind: str, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        with self.database.writing() as connection:
            _study(connection, study_id)
            row = (study_id, kind, key, json.dumps(value))
            connection.execute("INSERT OR REPLACE INTO study_attrs VALUES (?, ?, ?, ?)", row)

    def _noted_study(self, study_id: int, kind: str) -> dict[str, Any]:
        connection = self.database.reading()
        _study(connection, study_id)
        query = "SELECT key, value FROM study_attrs WHERE study = ? AND kind = ? ORDER BY rowid"
        return {key: json.loads(value) for key, value in connection.execute(query, (study_id, kind))}

    def _note_trial(self, trial_id: int, kind: str, key: str, value: Any) -> None:  # noqa: ANN401 - plain data
        with self.database.writing() as connection:
            self._check_open(connection, trial_id)
            write_attr(connection, trial_id, kind, key, value)

    def _check_open(self, connection: sqlite3.Connection, trial_id: int) -> TrialState:
        row = connection.execute("SELECT state FROM trials WHERE id = ?", (trial_id,)).fetchone()
        if row is None:
            raise KeyError(f"there is no trial of the id {trial_id}")
        self.check_trial_is_updatable(trial_id, TrialState(row[0]))
        return TrialState(row[0])

    def _trial(self, row: tuple[Any, ...]) -> FrozenTrial:
        trial_id, _, state, *_ = row
        if trial_id in self._ended:
            return self._ended[trial_id]
        found = _read_trial(self.database.reading(), row)
        if TrialState(state).is_finished():
            self._ended[trial_id] = found
        return found


def write_attr(connection: sqlite3.Connection, trial_id: int, kind: str, key: str, value: Any) -> None:  # noqa: ANN401
    """Note something of a trial, in a transaction that is open."""
    row = (trial_id, kind, key, json.dumps(value))
    connection.execute("INSERT OR REPLACE INTO trial_attrs VALUES (?, ?, ?, ?)", row)


def _study(connection: sqlite3.Connection, study_id: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(
        "SELECT name, directions FROM studies WHERE id = ?", (study_id,)
    ).fetchone()
    if row is None:
        raise KeyError(f"there is no study of the id {study_id}")
    return row


def _write_param(
    connection: sqlite3.Connection, trial_id: int, name: str, internal: float, distribution: BaseDistribution
) -> None:
    row = (trial_id, name, internal, distribution_to_json(distribution))
    connection.execute("INSERT OR REPLACE INTO params VALUES (?, ?, ?, ?)", row)


def _write_template(connection: sqlite3.Connection, trial_id: int, template: FrozenTrial) -> None:
    for name, distribution in template.distributions.items():
        internal = distribution.to_internal_repr(template.params[name])
        _write_param(connection, trial_id, name, internal, distribution)
    for kind, attrs in ((USER, template.user_attrs), (SYSTEM, template.system_attrs)):
        for key, value in attrs.items():
            write_attr(connection, trial_id, kind, key, value)
    for step, value in template.intermediate_values.items():
        connection.execute("INSERT INTO reports VALUES (?, ?, ?)", (trial_id, step, json.dumps(value)))


def _read_trial(connection: sqlite3.Connection, row: tuple[Any, ...]) -> FrozenTrial:
    trial_id, number, state, result, started, ended = row
    query = "SELECT name, internal, distribution FROM params WHERE trial = ? ORDER BY rowid"
    params = connection.execute(query, (trial_id,)).fetchall()
    distributions = {name: json_to_distribution(text) for name, _, text in params}
    attrs: dict[str, dict[str, Any]] = {USER: {}, SYSTEM: {}}
    query = "SELECT kind, key, value FROM trial_attrs WHERE trial = ? ORDER BY rowid"
    for kind, key, value in connection.execute(query, (trial_id,)):
        attrs[kind][key] = json.loads(value)
    reports = connection.execute("SELECT step, value FROM reports WHERE trial = ? ORDER BY step", (trial_id,))
    return FrozenTrial(
        number=number,
        state=TrialState(state),
        value=None,
        values=json.loads(result) if result else None,
        datetime_start=_time(started),
        datetime_complete=_time(ended),
        params={name: distributions[name].to_external_repr(internal) for name, internal, _ in params},
        distributions=distributions,
        user_attrs=attrs[USER],
        system_attrs=attrs[SYSTEM],
        intermediate_values={step: json.loads(value) for step, value in reports},
        trial_id=trial_id,
    )


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
