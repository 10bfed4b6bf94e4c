"""A search over stages: the space, what is drawn of a configuration, journals, studies."""

from __future__ import annotations

import json

import pytest
from problems import hill

from crdiff.errors import MissingPackageError, SettingsError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies import optuna_samplers, registry
from crdiff.search.strategies.point import AXES, DENSE, START, Point, by_pruned_counts, rounded
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options
from crdiff.settings import Settings

RATIOS = ("down", "mid", "up")
THREE = Space.vary(AXES, fixed=START, stages=3)
POINT = Point(0.1, 0.2, 0.3, 1.5, (Point(0.4, 0.2, 0.3, 1.25), Point(0.5, 0.2, 0.3, 2.0)))


def score(point):
    """Of the first stage, and more where the last one prunes more of the down blocks."""
    first, last = point.stages[0], point.stages[-1]
    return hill(first, "a cat", 1) + 0.1 * (last.down - first.down)


def objective():
    return Objective(("a cat",), (1,), evaluate=lambda point, prompt, seed: score(point), racing="off")


def test_every_stage_has_ratios_of_its_own_and_k_only_where_asked_for():
    assert THREE.axes == ("down", "mid", "up", "k", "down2", "mid2", "up2", "down3", "mid3", "up3")
    own_k = Space.vary(AXES, fixed=START, stages=2, k_by_stage=True)
    assert own_k.axes == (*AXES, "down2", "mid2", "up2", "k2") and own_k.bounds["k2"] == own_k.bounds["k"]
    point = THREE.at([0.0, 0.5, 1.0, 0.5, *[0.25] * 3, *[0.75] * 3])
    assert [stage.k for stage in point.stages] == [1.75] * 3
    assert [stage.down for stage in point.stages] == pytest.approx([0.1, 0.275, 0.625])
    # What is not varied stays, in every stage.
    held = Space.vary(["down"], fixed=Point(0.2, 0.4, 0.6, 1.5), stages=2).at([0.0, 1.0])
    assert [tuple(stage.ratios) for stage in held.stages] == [(0.1, 0.4, 0.6), (0.8, 0.4, 0.6)]
    assert Space.vary(AXES, fixed=START).stages == 1


@pytest.mark.parametrize(("vary", "stages"), [(AXES, 5), (AXES, 0), (["k"], 2), (AXES, True)])
def test_stages_that_cannot_be_searched_are_refused(vary, stages):
    with pytest.raises(SettingsError, match="stages"):
        Space.vary(vary, fixed=START, stages=stages)


def test_a_configuration_is_drawn_by_what_it_sets():
    settings = Settings.from_dict(POINT.settings)
    stages = settings.schedule.stages
    assert [tuple(stage.ratios) for stage in stages] == [(0.1, 0.2, 0.3), (0.4, 0.2, 0.3), (0.5, 0.2, 0.3)]
    assert [stage.k for stage in stages] == [1.5, 1.25, 2.0] and settings.k is None
    # Every number of steps begins its stages where thirds of them do.
    schedule = settings.schedule
    for total in range(1, 61):
        for step in range(total):
            assert schedule.at(step / total) == stages[3 * step // total], (step, total)
    same_k = Settings.from_dict(THREE.clip(POINT).settings)
    assert same_k.k == 1.5 and not same_k.schedule.has_own_k
    assert START.in_stages(3).settings == START.settings


def test_a_configuration_comes_back_from_json():
    assert Point.from_dict(json.loads(json.dumps(POINT.to_dict()))) == POINT
    assert POINT.to_dict()["stages"][1] == {"from": 0.3333, "down": 0.4, "mid": 0.2, "up": 0.3, "k": 1.25}
    stage = POINT.to_dict()["stages"][0]
    for stages, sentence in (
        ([stage, {**stage, "from": 0.7}], "of the same length"),
        ([stage, {"from": 0.5, "down": 0, "mid": 0, "up": 0}], "must have a k"),
        ("0.1/0.2/0.3", "must be a list"),
        ([{**stage, "from": place / 5} for place in range(5)], "at most 4 stages"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            Point.from_dict({"stages": stages})


def test_stages_that_are_alike_are_one_configuration():
    counts = by_pruned_counts({"down": 100, "mid": 100, "up": 100})
    for signature in (rounded, counts):
        assert signature(START.in_stages(3)) == signature(START) != signature(POINT)
    assert DENSE.in_stages(2).is_dense and not POINT.is_dense
    assert Point(0.0, 0.0, 0.0, 1.5, (Point(0.3, 0.0, 0.0, 0.0),)).is_dense
    assert START.in_stages(3).merged == START


@pytest.mark.parametrize("name", ["annealing", "evolution", "nearby", "random"])
def test_a_search_over_stages_resumes_from_its_journal(tmp_path, name):
    def search():
        strategy = registry.make(name, THREE, [START, DENSE])
        return Search(THREE, strategy, objective(), Journal(tmp_path / "search.jsonl", {}), DENSE)

    first = search().run(Budget(evaluations=12))
    resumed = search().run(Budget(evaluations=24))
    assert resumed.history[: len(first.history)] == first.history
    whole = Search(THREE, registry.make(name, THREE, [START, DENSE]), objective(), None, DENSE)
    assert whole.run(Budget(evaluations=24)).history == resumed.history
    assert len(resumed.best.point.stages) == 3 and resumed.best.score > score(START)


@pytest.mark.parametrize("name", ["annealing", "evolution", "nearby", "random", "tpe"])
def test_workers_share_a_search_over_stages(tmp_path, monkeypatch, name):
    from crdiff.search.optuna_sampler import distributions
    from crdiff.search.study import StudySearch

    def worker(folder=tmp_path):
        strategy = registry.make(name, THREE, [START, DENSE], Options(seed=5))
        return StudySearch(f"journal://{folder / 'study.log'}", "study", strategy, objective())

    report = worker().run(Budget(evaluations=4))
    assert [entry.point for entry in report.history[:2]] == [START, DENSE]
    again = worker().run(Budget(evaluations=14))
    assert again.history[:4] == report.history and len(again.history[5].point.stages) == 3
    assert [entry.score for entry in again.history] == pytest.approx([score(one.point) for one in again.history])
    if name != "tpe":  # whose random numbers would come from one generator
        alone = Search(THREE, registry.make(name, THREE, [START, DENSE], Options(seed=5)), objective())
        assert [one.point for one in again.history] == [one.point for one in alone.run(Budget(evaluations=14)).history]

    (tmp_path / "killed").mkdir()
    worker(tmp_path / "killed").study.ask(distributions(THREE))
    monkeypatch.setattr("crdiff.search.workers.LOST_AFTER_S", 0.0)
    freed = worker(tmp_path / "killed").run(Budget(evaluations=4))
    assert {entry.point for entry in freed.history if entry.kind == "seed"} == {START, DENSE}


def test_a_sampler_of_optuna_knows_the_starts_that_lie_within_the_bounds_and_learns():
    strategy = registry.make("tpe", THREE, [START, DENSE])
    points = []
    while len(points) < 30:
        proposal = strategy.ask()
        points.append(proposal.point)
        strategy.tell(proposal, score(proposal.point))
    assert points[:2] == [START, DENSE]
    assert [trial.value for trial in strategy._study.trials[:2]] == [score(START), score(points[2])]
    assert max(map(score, points[12:])) > max(map(score, points[2:12]))
    # What other workers are scoring is not proposed again.
    told = [(point, score(point)) for point in points]
    _, alone = strategy.next_of(30, told)
    assert strategy.next_of(30, told)[1] == alone != strategy.next_of(30, told, [alone] * 4)[1]


def test_a_shared_strategy_is_told_what_other_workers_are_scoring(tmp_path, monkeypatch):
    from crdiff.search.optuna_sampler import distributions
    from crdiff.search.study import StudySearch

    told = []
    monkeypatch.setattr(RandomSearch, "next_of", lambda *args: told.append(args[2:]) or ("sample", DENSE))
    strategy = registry.make("random", THREE, [START])
    study = StudySearch(f"journal://{tmp_path / 'study.log'}", "study", strategy, objective()).study
    first = study.ask(distributions(THREE))
    study.ask(distributions(THREE))
    study.tell(first, 0.25)
    study.ask(distributions(THREE))
    assert told == [([], [START]), ([(START, 0.25)], [DENSE])]


@pytest.mark.parametrize(("name", "missing"), [("tpe", "optuna"), ("gp", "torch")])
def test_a_sampler_whose_package_is_not_installed_is_refused_and_not_offered(monkeypatch, name, missing):
    monkeypatch.setattr(optuna_samplers, "find_spec", lambda package: None if package == missing else object())
    assert name not in registry.available()
    with pytest.raises(MissingPackageError, match=f"strategy {name} needs the Python package {missing}"):
        registry.make(name, THREE, [START])
