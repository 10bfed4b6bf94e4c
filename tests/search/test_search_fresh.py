"""What a find is worth on fresh seeds."""

from __future__ import annotations

import pytest
from problems import Counted, hill, objective

from crdiff.search.fresh import Gain, finalists, fresh_seeds, race, survivors
from crdiff.search.journal import Journal
from crdiff.search.report import Evaluation
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.point import DENSE, START, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space

POINTS = [Point(ratio, ratio, ratio, 1.5) for ratio in (0.1, 0.2, 0.4, 0.5, 0.6)]
GOOD, GRAY, BAD = POINTS[:3]


def test_a_gain_says_whether_there_is_one():
    gain = Gain.of([0.2, 0.3, 0.25, 0.25])
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.25, 0.185, 0.315), abs=1e-3)
    assert gain.sentence == (
        "On 4 images with fresh seeds it gains +0.250 (+0.185 to +0.315) over where the search started."
    )
    assert "no better than where the search started" in Gain.of([0.5, -0.4, 0.1]).sentence
    assert Gain.of([0.0] * 3).sentence == (
        "On 3 images with fresh seeds it scores exactly what the start of the search does."
    )
    assert fresh_seeds((7, 3), 2) == (8, 9)


def evaluated(number, point, *scores):
    whole = None if None in scores else sum(scores) / len(scores)
    return Evaluation(number, point, "sample", whole, whole, scores, True, False)


def test_the_best_four_and_the_start_go_on():
    history = [evaluated(1, DENSE, 0.9, 0.9), evaluated(2, START, 0.1, 0.2), evaluated(9, GRAY, 0.8, None)]
    history += [evaluated(3 + n, point, 0.3 + n / 10, 0.3) for n, point in enumerate(POINTS)]
    found = finalists(history, START)
    assert list(found) == [*reversed(POINTS[1:]), START]
    assert found[START] == [0.1, 0.2] and found[GRAY] == [0.4, 0.3]
    # Without the start's scores there is nothing that the others' could be compared with.
    assert set(map(len, finalists(history[2:], START).values())) == {0}


def test_a_race_adds_seeds_while_candidates_are_apart_by_chance_only():
    drawn = []

    def score(point, images):
        drawn.extend((point, image) for image in images)
        return [{GOOD: 0.6, GRAY: 0.55, BAD: 0.1}[point] + 0.04 * (hash((point.down, seed)) % 5) for _, seed in images]

    rounds = [[("one", seed), ("two", seed)] for seed in range(8)]
    # The luckiest of those that were seen is not the best.
    found = race({GOOD: [0.5], GRAY: [0.7], BAD: [0.9]}, rounds, score)
    assert found == GOOD
    images = {point: [image for one, image in drawn if one == point] for point in (GOOD, GRAY, BAD)}
    assert len(images[GOOD]) == 16 and images[GOOD] == [image for images in rounds for image in images]
    assert 3 <= len(images[BAD]) < 16 and images[BAD] == images[GOOD][: len(images[BAD])]
    left = survivors({GOOD: [0.5], GRAY: [0.7], BAD: [0.9]}, rounds, score)
    assert BAD not in left and left[GOOD] == [0.5, *score(GOOD, images[GOOD])]
    assert race({BAD: [0.2]}, rounds, score) == BAD and race({GOOD: [], BAD: []}, [], score) == GOOD


def test_the_four_that_race_are_scored_in_full_whatever_is_cut():
    strategy, scores = RandomSearch(Space(), [START], 2), []
    for number in range(40):
        proposal, score = strategy.ask(), (17 * number) % 40 / 40
        assert proposal.threshold == (sorted(scores)[-4] if number >= 4 else None)
        cut = proposal.threshold is not None and score < proposal.threshold
        strategy.tell(proposal, None if cut else score)
        scores.append(score)


def test_a_comparison_that_is_cut_off_leaves_the_find_and_goes_on_where_it_was(tmp_path):
    def search(evaluate):
        strategy = RandomSearch(Space(), [START], 2)
        return Search(Space(), strategy, objective(evaluate, prompts=("a cat",)), Journal(tmp_path / "one.jsonl", {}))

    def broken(point, prompt, seed):
        if seed == 4:
            raise ValueError("no weights")
        return hill(point, prompt, seed)

    first = search(broken)
    report = first.run(Budget(evaluations=9))
    cut = first.compare(report, START, 6)
    assert (cut.report.state, cut.report.best, cut.gain) == ("done", report.best, None)
    assert cut.report.message.endswith("The comparison on fresh seeds ended: no weights")
    stopped = first.compare(report, START, 6, lambda: True)
    assert (stopped.report.state, stopped.report.best) == ("stopped", report.best)

    scorer = Counted()
    again = search(scorer)
    found = again.compare(again.run(Budget(evaluations=9)), START, 6)
    assert {seed for _, _, seed in scorer.asked} <= {4, 5, 6, 7, 8} and found.gain.images == 3
    whole = search(Counted())
    assert whole.compare(whole.run(Budget(evaluations=9)), START, 6) == found
    # Further evaluations are written behind the scores of fresh seeds, and read again.
    more = search(hill).run(Budget(evaluations=11))
    assert more.evaluations == 11 and search(scorer).run(Budget(evaluations=11)).history == more.history
