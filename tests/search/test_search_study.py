"""Several workers in one Optuna study: the same annealing, shared, and a worker's death costs one trial."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from problems import Counted, course, hill, objective

from crdiff.errors import MissingPackageError
from crdiff.search.errors import AbortSearchError, JournalError
from crdiff.search.optuna_sampler import AnnealingSampler, distributions
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.point import DENSE, START, Point
from crdiff.search.strategies.space import Space
from crdiff.search.study import StudySearch
from crdiff.search.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
STARTS = [START, DENSE]
optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(storage, evaluate=hill, iterations=25, seed=3, identity=None, strategy=None, **values):
    identity = {"checkpoint": "31e35c80fc"} if identity is None else identity
    one = objective(evaluate, prompts=("a cat",), **values)
    strategy = strategy or SimulatedAnnealing(Space(), STARTS, seed, Schedule(iterations=iterations))
    return StudySearch(storage, "cats", strategy, one, identity=identity)


def journal_file(folder):
    return f"journal://{folder}/study.log"


def sqlite(folder):
    return f"sqlite:///{folder}/study.db"


@pytest.fixture
def storage(tmp_path):
    return journal_file(tmp_path)


def whole(iterations=25, seed=3):
    strategy = SimulatedAnnealing(Space(), STARTS, seed, Schedule(iterations=iterations))
    return Search(Space(), strategy, objective(prompts=("a cat",), racing="off")).run()


@pytest.mark.parametrize(("url", "iterations"), [(journal_file, 25), (sqlite, 6)])
def test_one_worker_walks_as_the_annealing_does(url, iterations, tmp_path):
    report = study(url(tmp_path), iterations=iterations).run()
    expected = whole(iterations)
    assert course(report) == course(expected)
    assert [entry.score for entry in report.history] == [entry.score for entry in expected.history]
    assert report.best.point == expected.best.point
    assert (report.state, report.message) == ("done", "The search has come to its end.")
    assert {key: report.status[key] for key in expected.status} == expected.status


def test_workers_one_after_another_go_on_where_the_study_stands(storage):
    for evaluations in (3, 4, 11):
        report = study(storage).run(Budget(evaluations=evaluations))
        assert (report.state, report.evaluations) == ("done", evaluations)
    scorer = Counted()
    report = study(storage, scorer).run()
    assert course(report) == course(whole())
    assert len(scorer.asked) == 2 * (whole().evaluations - 11)


def test_the_study_of_another_search_is_refused(storage):
    study(storage).run(Budget(evaluations=2))
    for other, name in [
        ({"identity": {"checkpoint": "6ce0161689"}}, 'checkpoint "31e35c80fc", and this search has "6ce0161689"'),
        ({"seed": 4}, "seed 3, and this search has 4"),
        ({"iterations": 26}, r"schedule\.iterations 25"),
        ({"seeds": (5,)}, r"objective\.seeds"),
    ]:
        with pytest.raises(JournalError, match=rf"^The study 'cats' was made with {name}.*\.$"):
            study(storage, **other)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/study.db", "journal:///no/such/folder/s.log"])
def test_a_storage_that_cannot_be_opened(url):
    with pytest.raises(JournalError, match=r"cannot be opened \(.*\)\.$"):
        study(url)


def test_a_database_whose_tables_another_worker_makes_at_the_same_moment(tmp_path, monkeypatch):
    said = ["table trials already exists", "UNIQUE constraint failed: alembic_version.version_num"]
    opened = optuna.storages.get_storage

    def get_storage(url):
        if said:
            raise RuntimeError(said.pop())
        return opened(url)

    monkeypatch.setattr("crdiff.search.study._RETRY_S", 0.0)
    monkeypatch.setattr(optuna.storages, "get_storage", get_storage)
    assert study(sqlite(tmp_path)).run(Budget(evaluations=1)).evaluations == 1


def test_stopping_and_failing(storage):
    asked = []

    def evaluate(*values):
        asked.append(values)
        if len(asked) == 12:
            raise AbortSearchError("The checkpoint was switched.")
        return hill(*values)

    report = study(storage, evaluate).run(should_stop=lambda: len(asked) == 7)
    assert (report.state, len(report.history), report.best is not None) == ("stopped", 3, True)
    report = study(storage, evaluate).run()
    assert (report.state, report.message) == ("failed", "The checkpoint was switched.")
    report = study(storage, evaluate).run()
    assert report.message == "The search has come to its end."
    numbers = [entry.number for entry in report.history]
    assert len(numbers) == len(set(numbers)) == 2 + report.status["iteration"] + report.status["restarts"]


def test_a_starting_point_whose_trial_failed_is_tried_again(storage):
    calls = []

    def evaluate(*values):
        calls.append(values)
        if len(calls) == 1:
            raise AbortSearchError("Out of memory.")
        return hill(*values)

    assert study(storage, evaluate).run().history == ()
    report = study(storage, evaluate).run(Budget(evaluations=4))
    assert {entry.point for entry in report.history if entry.kind == "seed"} == set(STARTS)


def test_a_starting_point_of_a_worker_that_was_killed_is_tried_by_another(storage, monkeypatch):
    killed = study(storage)
    claimed = killed.study.ask(distributions(killed.sampler.space))
    assert Point(**claimed.params) == STARTS[0]
    report = study(storage).run(Budget(evaluations=3))
    assert {entry.point for entry in report.history if entry.kind == "seed"} == set(STARTS[1:])  # it may still live
    monkeypatch.setattr("crdiff.search.workers.LOST_AFTER_S", 0.0)
    report = study(storage).run(Budget(evaluations=5))
    assert {entry.point for entry in report.history if entry.kind == "seed"} == set(STARTS)


def test_one_worker_compares_the_best_few_on_fresh_seeds_and_the_others_find_the_same(storage, monkeypatch):
    monkeypatch.setattr("crdiff.search.workers._POLL_S", 0.0)
    calls = []

    def killed(*asked):
        if asked[2] > 3:  # in the midst of the race: seeds 1 and 2 are the search's
            raise AbortSearchError("Out of memory.")
        return hill(*asked)

    first = study(storage, killed)
    report = first.run(Budget(evaluations=12))
    lost = first.compare(report, START, 6)
    assert (lost.report.best, lost.gain) == (report.best, None)
    assert lost.report.message.endswith("The comparison on fresh seeds ended: Out of memory.")

    second, third = Counted(), Counted()
    found = []
    for scorer in (second, third):
        worker = study(storage, scorer)
        found.append(worker.compare(worker.run(Budget(evaluations=12)), START, 6))
    drawn = {asked[2] for asked in second.asked}
    assert drawn >= {4, 6, 7, 8} and not drawn & {1, 2, 3} and third.asked == []
    assert found[0].gain == found[1].gain and found[0].report.best == found[1].report.best
    best = found[0].report.best.point
    gains = [hill(best, "a cat", seed) - hill(START, "a cat", seed) for seed in (6, 7, 8)]
    assert found[0].gain.images == 3 and found[0].gain.value == pytest.approx(sum(gains) / 3)

    # While another is at a trial, it is waited for; a study that goes on is not compared.
    waiting = study(storage, iterations=25)
    report = waiting.run(Budget(evaluations=12))
    other = waiting.study.ask(distributions(waiting.sampler.space))
    stopped = waiting.compare(report, START, 6, lambda: calls.append(1) or len(calls) == 3)
    assert (stopped.report.state, len(calls)) == ("stopped", 3)
    waiting.study.tell(other, state=optuna.trial.TrialState.FAIL)
    assert waiting.compare(report, START, 6).gain == found[0].gain
    early = waiting.run(Budget(minutes=1e-9))
    assert "once the shared search itself has come to its end" in waiting.compare(early, START, 6).report.message


@pytest.mark.parametrize("url", [journal_file, sqlite])
def test_of_two_workers_that_claim_the_study_at_once_one_has_it(url, tmp_path, monkeypatch):
    workers = [Workers(study(url(tmp_path)).study) for _ in range(2)]
    looks = iter([[]])  # to the second one nobody is at work yet, as to the first one
    with workers[0].alone(lambda: False):
        look = workers[1]._running
        monkeypatch.setattr(workers[1], "_running", lambda: next(looks, None) or look())
        monkeypatch.setattr(workers[1], "give_up_lost_trials", lambda: None)
        with pytest.raises(AbortSearchError), workers[1].alone(lambda: True):
            pass
    with workers[1].alone(lambda: True):  # and of one that was killed another takes it over
        monkeypatch.setattr("crdiff.search.workers.LOST_AFTER_S", -1.0)
        with workers[0].alone(lambda: True):
            pass


def test_the_sampler_alone_ends_a_study_of_its_own():
    sampler = AnnealingSampler(SimulatedAnnealing(Space(), STARTS, 3, Schedule(iterations=10)))
    own = optuna.create_study(sampler=sampler, direction="maximize")

    def score(trial):
        point = Point(*(trial.suggest_float(axis, 0.0, 0.9) for axis in ("down", "mid", "up")), 1.5)
        return hill(point, "a cat", 1) + 0.0 * trial.suggest_float("another", 0.0, 1.0)

    own.optimize(score, n_trials=100)
    walk, _ = sampler.replay(own.trials)
    assert walk.phase == "done"
    assert len(own.trials) <= 2 + walk.iteration + walk.restarts + 1
    assert own.best_value > own.trials[0].value


WORKER = """
import sys, time
sys.path[:0] = [{root!r}, {here!r}]
from test_search_study import study
from problems import hill
from crdiff.search.search import Budget

def slow(*asked):
    time.sleep(0.05)
    return hill(*asked)

study({storage!r}, slow, iterations=200).run(Budget(evaluations=24))
"""


@pytest.mark.parametrize("url", [journal_file, pytest.param(sqlite, marks=pytest.mark.full)])
def test_of_three_workers_one_is_killed(url, tmp_path):
    storage = url(tmp_path)
    code = WORKER.format(root=str(ROOT), here=str(ROOT / "tests" / "search"), storage=storage)
    shared = study(storage, iterations=200).study
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    deadline = time.monotonic() + 300
    try:
        while len(shared.get_trials(deepcopy=False)) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        workers[0].kill()
        codes = [worker.wait(300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert codes[0] != 0
    assert codes[1:] == [0, 0]
    states = [trial.state.name for trial in shared.get_trials(deepcopy=False)]
    assert 24 <= states.count("COMPLETE") <= 26
    assert len(states) - states.count("COMPLETE") <= 1
    report = study(storage, iterations=200).run(Budget(evaluations=24))
    assert report.best.score == max(entry.score for entry in report.history)
    assert report.best.score > report.history[0].score


def test_without_optuna_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("optuna_sampler", "study"):
        monkeypatch.delitem(sys.modules, f"crdiff.search.{name}", raising=False)
    with pytest.raises(MissingPackageError, match=r"needs the Python package optuna, which is not installed\.$"):
        __import__("crdiff.search.study")


def test_a_worker_without_a_working_scorer_ends(storage):
    def broken(*asked):
        raise RuntimeError("no weights")

    report = study(storage, broken, failures=2).run()
    assert (report.state, report.evaluations) == ("failed", 1)
    assert report.message == "The search ended after 2 failed evaluations in a row; the last one: no weights"
    assert study(storage).run(Budget(evaluations=3)).evaluations == 3
