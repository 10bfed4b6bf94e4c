"""The search's loop: budgets, stopping, repeats, failures, and racing that changes nothing but the cost."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from problems import PROMPTS, SEEDS, Counted, course, hill, objective

from crdiff.errors import SettingsError
from crdiff.search.errors import AbortSearchError
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.point import DENSE, START, Point, by_pruned_counts, rounded
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.registry import available, make
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options

SPACE = Space()


def annealing(seed=0, iterations=30, starts=(START,)):
    return SimulatedAnnealing(SPACE, starts, seed, Schedule(iterations=iterations))


def search(evaluate=hill, strategy=None, **values):
    return Search(SPACE, strategy or annealing(), objective(evaluate, **values))


def test_the_score_is_the_mean_over_prompts_and_seeds():
    report = search().run(Budget(evaluations=3))
    for entry in report.history:
        expected = [hill(entry.point, prompt, seed) for seed in SEEDS for prompt in PROMPTS]
        if entry.score is not None:
            assert list(entry.scores) == expected
            assert entry.score == pytest.approx(sum(expected) / 6, abs=1e-12)
    assert report.images_of == 6


@pytest.mark.parametrize("name", available())
def test_the_same_seed_gives_the_same_search(name):
    reports = [
        search(strategy=make(name, SPACE, [START, DENSE], Options(5))).run(Budget(evaluations=20)) for _ in range(2)
    ]
    assert reports[0].history == reports[1].history
    assert reports[0].best.score >= reports[0].history[0].score
    other = search(strategy=make(name, SPACE, [START, DENSE], Options(6))).run(Budget(evaluations=20))
    assert course(other) != course(reports[0])


@pytest.mark.parametrize("name", available())
def test_every_strategy_climbs(name):
    report = search(strategy=make(name, SPACE, [START, DENSE], Options(1))).run(Budget(evaluations=80))
    assert report.evaluations == 80
    assert report.best.score > report.history[0].score + 0.1
    assert report.history[1].at_most < report.history[0].score
    assert report.best.score == max(entry.score for entry in report.history if entry.score is not None)


def test_racing_changes_nothing_but_the_cost():
    saved = 0
    for strategy in (annealing, lambda seed: RandomSearch(SPACE, [START, DENSE], seed)):
        for seed in range(6):
            full, raced = Counted(), Counted()
            whole = search(full, strategy(seed), racing="off").run(Budget(evaluations=30))
            quick = search(raced, strategy(seed), racing="exact").run(Budget(evaluations=30))
            count = min(len(whole.history), len(quick.history))
            assert course(whole)[:count] == course(quick)[:count]
            assert [a.score for a, b in zip(whole.history, quick.history) if b.score is not None] == [
                b.score for b in quick.history if b.score is not None
            ]
            for one, other in zip(whole.history, quick.history):
                assert one.score <= other.at_most
                assert other.score is not None or not other.accepted
            assert set(raced.asked) <= set(full.asked)
            assert len(raced.asked) + quick.saved_by_racing == 6 * len({rounded(e.point) for e in quick.history})
            assert whole.best.point == quick.best.point
            saved += len(full.asked) - len(raced.asked)
            assert quick.images == len(raced.asked)
    assert saved > 250


def test_likely_racing_saves_more_and_loses_little():
    """Eight prompts with two seeds, each with a level of its own: differences between configurations are paired."""
    many = {"prompts": tuple(f"prompt {number}" for number in range(8)), "highest": None}

    def noisy(point, prompt, seed):
        level = random.Random(f"{prompt}/{seed}")
        jitter = random.Random(f"{list(point.ratios)}/{prompt}/{seed}")
        return hill(point, prompt, seed) + level.uniform(-0.5, 0.5) + jitter.gauss(0.0, 0.05)

    full, likely, wrong = 0, 0, 0
    for seed in range(5):
        whole = search(noisy, annealing(seed, 60), racing="off", **many).run()
        quick = search(noisy, annealing(seed, 60), racing="likely", **many).run()
        full += whole.images
        likely += quick.images
        known = {entry.point: entry.score for entry in whole.history}
        wrong += sum(known.get(entry.point, -9.0) > quick.best.score for entry in quick.history if entry.score is None)
        assert quick.best.score >= whole.history[0].score
        assert search(noisy, annealing(seed, 60), racing="likely", **many).run().history == quick.history
    assert wrong == 0
    assert likely < 0.9 * full


def test_racing_needs_a_bound():
    report = search(highest=None).run(Budget(evaluations=30))
    assert report.saved_by_racing == 0
    assert all(entry.score is not None for entry in report.history)


def test_a_score_above_the_stated_bound_ends_racing_and_is_told():
    report = search(highest=0.5).run(Budget(evaluations=20))
    assert "stated maximum of 0.5" in report.message
    assert report.history[-1].score is not None


def test_what_was_cut_is_completed_when_it_is_needed_after_all():
    class Twice(PointsToEvaluate):
        """Asks for one point twice, needing first more than it can have."""

        limit = 0.0

        def ask(self):
            proposal = super().ask()
            limited = proposal is not None and proposal.number == 1
            return replace(proposal, threshold=self.limit) if limited else proposal

        def tell(self, proposal, score):
            self.limit = max(self.limit, score or 0.0)
            return super().tell(proposal, score)

    scorer = Counted()
    strategy = Twice([START, Point(0.8, 0.8, 0.8), Point(0.8, 0.8, 0.8)])
    report = Search(SPACE, strategy, objective(scorer)).run()
    first, cut, completed = report.history
    assert cut.score is None and not cut.repeat and first.score > cut.at_most
    assert completed.score is not None and completed.repeat
    assert len(scorer.asked) == len(set(scorer.asked)) == 12
    assert (report.evaluations, report.saved_by_racing) == (2, 0)


def test_repeats_cost_nothing():
    scorer = Counted()
    weights = {"down": 10, "mid": 10, "up": 10}
    report = search(scorer, annealing(iterations=120), signature=by_pruned_counts(weights), racing="off").run()
    configurations = {tuple(int(10 * ratio) for ratio in entry.point.ratios) for entry in report.history}
    assert len(scorer.asked) == 6 * len(configurations) == 6 * report.evaluations
    assert report.saved_by_repeats == 6 * (len(report.history) - len(configurations))
    assert len(report.history) > 120 > len(configurations)
    assert sum(not entry.repeat for entry in report.history) == len(configurations)


def test_a_search_that_only_repeats_itself_ends():
    weights = {"down": 1, "mid": 1, "up": 1}
    report = search(strategy=RandomSearch(SPACE, [START], 0), signature=by_pruned_counts(weights)).run()
    assert (report.state, report.evaluations) == ("done", 1)
    assert "measured before" in report.message


def test_signatures():
    signature = by_pruned_counts({"down": 100, "mid": 50, "up": 100})
    assert signature(Point(0.301, 0.301, 0.301)) == signature(Point(0.309, 0.319, 0.3091))
    assert signature(Point(0.301, 0.301, 0.301)) != signature(Point(0.311, 0.301, 0.301))
    assert signature(Point(0.3, 0.3, 0.3, 1.5)) != signature(Point(0.3, 0.3, 0.3, 1.4))
    assert signature(DENSE) == signature(Point(0.009, 0.01, 0.0, 1.5)) == signature(Point(0.5, 0.5, 0.5, 0.0))
    assert rounded(Point(0.30001, 0.3, 0.3)) == rounded(START) != rounded(Point(0.3001, 0.3, 0.3))


def test_the_baseline_comes_first_and_whole():
    scorer = Counted()
    strategy = annealing(starts=[START, DENSE])
    report = Search(SPACE, strategy, objective(scorer), baseline=DENSE).run(Budget(evaluations=10))
    assert report.baseline == report.history[0]
    assert (report.baseline.point, report.baseline.kind, report.baseline.score is None) == (DENSE, "baseline", False)
    assert [entry.kind for entry in report.history[:3]] == ["baseline", "seed", "seed"]
    assert report.history[2].repeat
    assert report.evaluations == 10


def test_when_nothing_beats_the_dense_model_it_is_the_best():
    report = Search(SPACE, annealing(), objective(lambda point, *image: -sum(point.ratios)), baseline=DENSE).run()
    assert report.best.point == DENSE


def test_the_budget_of_evaluations():
    scorer = Counted()
    report = search(scorer, racing="off").run(Budget(evaluations=7))
    assert (report.state, report.evaluations, len(scorer.asked)) == ("done", 7, 42)
    assert report.message == "The budget of 7 evaluations is used up."
    assert search().run().message == "The search has come to its end."


def test_the_budget_of_minutes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("crdiff.search.evaluation.time.monotonic", lambda: clock[0])

    def slow(*asked):
        clock[0] += 10.0
        return hill(*asked)

    one = search(slow, racing="off")
    report = one.run(Budget(minutes=2))
    assert (report.state, report.images, report.evaluations, report.seconds) == ("done", 12, 2, 120.0)
    assert report.message == "The budget of 2 minutes is used up."
    assert one.run(Budget(minutes=2)).images == 12
    assert one.run(Budget(minutes=3)).images == 18
    left = []
    one.run(Budget(evaluations=6), on_progress=lambda progress: left.append(progress.seconds_left))
    assert left[0] == 180.0
    assert left[-1] == 0.0


def test_stopping_keeps_the_best_and_a_second_run_goes_on():
    whole = search().run()
    for images in range(0, whole.images, 7):
        scorer = Counted()
        one = search(scorer)
        report = one.run(should_stop=lambda scorer=scorer, stop=images: len(scorer.asked) >= stop)
        assert (report.state, len(scorer.asked)) == ("stopped", images)
        assert report.history == whole.history[: len(report.history)]
        if report.history:
            known = [entry for entry in report.history if entry.score is not None]
            assert report.best == max(known, key=lambda entry: entry.score)
        again = one.run()
        assert again.history == whole.history
        assert len(scorer.asked) == whole.images


def test_progress_is_told_after_every_image():
    reports = []
    final = search(racing="off").run(Budget(evaluations=5), on_progress=reports.append)
    assert [report.state for report in reports[:-1]] == ["running"] * 35
    assert reports[-1] == final
    json.dumps([entry.to_dict() for entry in final.history], allow_nan=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "0.5", True, RuntimeError("out of memory"), ValueError()])
def test_a_failed_image_counts_minus_two(bad):
    def evaluate(point, prompt, seed):
        if prompt == PROMPTS[1]:
            if isinstance(bad, Exception):
                raise bad
            return bad
        return 1.0

    report = search(evaluate).run(Budget(evaluations=4))
    assert report.state == "done"
    assert report.history[0].scores == (1.0, -2.0, 1.0, 1.0, -2.0, 1.0)
    assert report.history[0].score == 0.0


def test_many_failures_in_a_row_end_the_search_and_are_tried_again():
    scorer = Counted()
    broken = [False]

    def evaluate(*asked):
        if broken[0]:
            raise RuntimeError("the scorer\nis gone")
        return scorer(*asked)

    whole = search(racing="off").run(Budget(evaluations=10))
    one = search(evaluate, racing="off")
    one.run(Budget(evaluations=4))
    broken[0] = True
    report = one.run(Budget(evaluations=10))
    assert (report.state, report.evaluations, report.best) == ("failed", 8, best(whole, 4))
    assert report.message == "The search ended after 5 failed evaluations in a row; the last one: the scorer is gone"
    broken[0] = False
    assert one.run(Budget(evaluations=10)).history == whole.history


def best(report, count):
    return max(report.history[:count], key=lambda entry: entry.score)


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_an_evaluation_can_end_the_search(state):
    def evaluate(point, prompt, seed):
        if point != START:
            raise AbortSearchError("The checkpoint was switched.", state)
        return 0.5

    report = search(evaluate).run()
    assert (report.state, report.message, report.evaluations) == (state, "The checkpoint was switched.", 1)
    assert report.best.point == START


def test_an_interrupt_is_passed_on_and_loses_nothing():
    scorer = Counted()

    def evaluate(*asked):
        if len(scorer.asked) == 9 and interrupts:
            raise interrupts.pop()
        return scorer(*asked)

    interrupts = [KeyboardInterrupt()]
    one = search(evaluate)
    with pytest.raises(KeyboardInterrupt):
        one.run(Budget(evaluations=5))
    assert one.run(Budget(evaluations=5)).history == search().run(Budget(evaluations=5)).history
    assert len(scorer.asked) == len(set(scorer.asked))


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 50])
def test_batches_give_the_same_search(batch):
    sizes = []

    def many(point, images):
        sizes.append(len(images))
        return [hill(point, prompt, seed) for prompt, seed in images]

    batched = Objective(PROMPTS, SEEDS, evaluate_many=many, batch=batch, highest=1.0)
    report = Search(SPACE, annealing(), batched).run()
    assert course(report) == course(search().run())
    assert max(sizes) == min(batch, 6)


def test_a_batch_that_fails_is_drawn_image_by_image():
    def many(point, images):
        if len(images) > 1 or images[0] == (PROMPTS[0], 2):
            raise MemoryError
        return [hill(point, *images[0])]

    report = Search(SPACE, annealing(), Objective(PROMPTS, SEEDS, evaluate_many=many, batch=4)).run(
        Budget(evaluations=2)
    )
    scores = [hill(START, prompt, seed) for seed in SEEDS for prompt in PROMPTS]
    scores[3] = -2.0
    assert list(report.history[0].scores) == scores
    few = Objective(PROMPTS, SEEDS, evaluate_many=lambda point, images: [0.5], batch=4)
    assert Search(SPACE, annealing(), few).run().message == "The scorer gave 1 scores for 4 images."


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"prompts": "a cat"}, "^The prompts of a search must be a list of texts"),
        ({"prompts": ()}, "^A search needs at least one prompt"),
        ({"prompts": ("a", "a")}, "^The search has the same prompt twice"),
        ({"seeds": (1, 1)}, "^The search has the same image seed twice"),
        ({"seeds": (1.5,)}, "^The seeds of a search must be a list of integers"),
        ({"racing": "fast"}, "^Racing must be one of exact, likely, off"),
        ({"batch": 0}, "^batch must be"),
        ({"failures": True}, "^failures must be"),
        ({"highest": math.nan}, "^highest must be"),
        ({"evaluate": None}, "^An objective needs evaluate or evaluate_many"),
        ({"evaluate_many": lambda *asked: [1.0]}, "^An objective needs evaluate or evaluate_many"),
    ],
)
def test_a_bad_objective_is_one_sentence(values, sentence):
    given = {"prompts": PROMPTS, "seeds": SEEDS, "evaluate": hill, **values}
    with pytest.raises(SettingsError, match=sentence):
        Objective(**given)


@pytest.mark.parametrize("values", [{"evaluations": 0}, {"evaluations": 1.0}, {"minutes": 0}, {"minutes": math.nan}])
def test_a_bad_budget_is_one_sentence(values):
    with pytest.raises(SettingsError, match=r"^The budget of .* must be .*\.$"):
        Budget(**values)


def test_an_unknown_strategy():
    with pytest.raises(
        SettingsError, match="must be one of annealing, evolution, nearby, random, cmaes, tpe, gp, not 'genetic'"
    ):
        make("genetic", SPACE, [START])


def test_random_scores_do_not_upset_the_bookkeeping():
    """Scores of any sign and order, cut and repeated: what was drawn and what was saved add up."""
    weights = {"down": 6, "mid": 6, "up": 6}
    for seed in range(10):
        rng = random.Random(seed)
        table = {}

        def score(point, prompt, image, rng=rng, table=table):
            key = (*(int(6 * ratio) for ratio in point.ratios), prompt, image)
            return table.setdefault(key, rng.uniform(-2.0, 1.0))

        scorer = Counted(score)
        signature = by_pruned_counts(weights)
        report = search(scorer, annealing(seed, 120), signature=signature).run()
        seen = {signature(entry.point) for entry in report.history if any(s is not None for s in entry.scores)}
        untouched = {signature(entry.point) for entry in report.history} - seen
        assert len(scorer.asked) + report.saved_by_racing == 6 * (len(seen) + len(untouched))
        assert report.evaluations == len(seen)
