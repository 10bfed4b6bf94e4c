"""Callables that stand in for a host's methods, among other extensions that do the same."""

from __future__ import annotations

import pytest

from crdiff.patching import Patch


class Base:
    def inherited(self, x):
        return ("inherited", x)


class Model(Base):
    def method(self, x, y=0):
        return ("model", x, y)


def doubled(original, *args, **kwargs):
    return (*original(*args, **kwargs), *original(*args, **kwargs))


@pytest.fixture
def model_class():
    return type("Mine", (Base,), {"method": Model.method})


@pytest.mark.parametrize("name", ["method", "inherited"])
def test_stands_in_for_a_class_and_leaves_it_as_it_was(model_class, name):
    before = dict(model_class.__dict__)
    model = model_class()
    plain = getattr(model, name)(1)
    replacement = Patch(model_class, name, doubled)
    assert getattr(model, name)(1) == plain * 2
    replacement.remove()
    assert getattr(model, name)(1) == plain
    assert dict(model_class.__dict__) == before


@pytest.mark.parametrize("own", [None, lambda x, y=0: ("own", x, y)])
def test_stands_in_for_an_instance_and_leaves_it_as_it_was(own):
    model = Model()
    if own is not None:
        model.method = own
    before, plain = dict(vars(model)), model.method(1, y=2)
    replacement = Patch(model, "method", doubled)
    assert model.method(1, y=2) == plain * 2
    replacement.remove()
    assert vars(model) == before
    assert model.method(1, y=2) == plain


@pytest.mark.parametrize("on_class", [True, False])
def test_an_idle_one_that_somebody_put_back_does_not_add_up(model_class, on_class):
    model = model_class()
    owner = model_class if on_class else model
    plain = model.method(1)
    calls = []

    def counted(original, *args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    for _ in range(5):
        ours = Patch(owner, "method", counted)
        theirs_saw = owner.__dict__["method"]
        owner.method = lambda *args, seen=theirs_saw, **kwargs: (
            seen.__get__(args[0])(*args[1:], **kwargs) if on_class else seen(*args, **kwargs)
        )
        calls.clear()
        assert model.method(1) == plain
        assert len(calls) == 1
        ours.remove()
        owner.method = theirs_saw
        assert model.method(1) == plain
    assert len(calls) == 1
    last = Patch(owner, "method", counted)
    last.remove()
    assert ("method" in vars(model)) is False
    assert model_class.__dict__["method"] is Model.__dict__["method"]


def test_an_error_in_the_original_goes_through():
    class Broken:
        def method(self):
            raise KeyError("gone")

    model = Broken()
    replacement = Patch(model, "method", doubled)
    with pytest.raises(KeyError, match="gone"):
        model.method()
    replacement.remove()
    assert vars(model) == {}
