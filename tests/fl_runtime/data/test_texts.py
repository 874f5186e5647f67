"""Tasks on texts, from small tables that are made here; and digits on a canvas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairopt import InvalidInput
from fl_runtime.data import texts
from fl_runtime.data.canvas import digits_on_canvas
from fl_runtime.data.registry import digits

REVIEWS = pd.DataFrame(
    {
        "review": [f"{word} tea{end}" for word in ("good", "stale") for end in ("!", ".")] * 3,
        "score": ["great", "great", "other", "other"] * 3,
    }
)
TWEETS = pd.DataFrame(
    {
        "text": [f"word{n}" for n in range(8)],
        "source": [*texts.DEVICES, texts.DEVICES[0], "TweetDeck", *texts.DEVICES],
        "created_at": [f"{year}-01-01T00:00:00Z" for year in (2012,) * 4 + (2013,) * 3 + (2009,)],
        "retweet_count": [1, 2, 3, 9, 1, 2, 3, 4],
    }
)
TITLES = pd.DataFrame(
    {
        "title": ["a house", "a dog", "a sea", "a tree"],
        "medium": ["Photograph, print", "Oil paint on canvas", "Drypoint on paper", "Bronze"],
        "year": [1999, 2000, 1990, 2012],
    }
)


def reviewed(labels: str = "rating", **more: int) -> texts.Dataset:
    arguments = {"count": 12, "width": 32, **more}
    return texts.text_task(REVIEWS, "review", texts.REVIEW_LABELS, labels, **arguments)


def test_label_sets_are_of_the_same_texts_split_and_dealt_alike() -> None:
    rating, exclaims = reviewed(), reviewed("exclaims")
    assert rating.family == exclaims.family
    assert np.array_equal(rating.features, exclaims.features)
    assert np.array_equal(rating.cut_by, exclaims.cut_by)
    assert not np.array_equal(rating.labels, exclaims.labels)
    few = reviewed(count=5)
    assert np.array_equal(few.features, rating.features[:5])
    assert few.family != rating.family


def test_marks_are_no_words_and_bags_are_of_one_length() -> None:
    found = reviewed()
    for rating in (0, 1):
        assert len(np.unique(found.features[found.labels == rating], axis=0)) == 1
    assert np.linalg.norm(found.features, axis=1) == pytest.approx(np.full(12, np.sqrt(32)))


def test_labels_of_tweets_and_titles_by_hand() -> None:
    kept = texts.kept_tweets(TWEETS)
    found = {name: np.array(rule(kept), int) for name, rule in texts.TWEET_LABELS.items()}
    assert found["device"].tolist() == [0, 1, 2, 0, 0, 1]
    assert found["year"].tolist() == [0, 0, 0, 0, 1, 1]
    assert found["popular"].tolist() == [0, 0, 1, 1, 0, 1]
    assert np.array(texts.TITLE_LABELS["medium"](TITLES)).tolist() == [0, 1, 2, 3]
    assert np.array(texts.TITLE_LABELS["recent"](TITLES), int).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [({"labels": "ratng"}, "labels"), ({"count": 13}, "count"), ({"count": 0}, "count"),
     ({"width": 1}, "width")],
)  # fmt: skip
def test_arguments_that_are_refused(wrong: dict[str, object], argument: str) -> None:
    with pytest.raises(InvalidInput, match=argument):
        reviewed(**wrong)  # type: ignore[arg-type]


def test_digits_are_in_the_middle_of_the_canvas() -> None:
    found = digits_on_canvas(side=11, count=40)
    inside = found.features[:, :, 1:9, 1:9]
    assert found.features.sum() == inside.sum()
    places = {image.tobytes(): label for image, label in zip(inside, found.labels, strict=True)}
    plain = digits()
    known = {i.tobytes(): n for i, n in zip(plain.features, plain.labels, strict=True)}
    assert all(known[image] == label for image, label in places.items())
    for wrong, argument in (({"side": 7}, "side"), ({"count": 1798}, "count")):
        with pytest.raises(InvalidInput, match=argument):
            digits_on_canvas(**wrong)
