"""A scoring service of Perspective's shape as a scorer.

One request per text, with a key in a header, a limit of requests per second, a time limit for each,
and retries where the service is busy or broken. No text and no key is ever logged or put into an
error: what people write to a model is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, ReadTimeoutError
from urllib3.util import Retry

from utils.settings import secret

PATH = "/v1alpha1/comments:analyze"
BUSY_OR_BROKEN = (429, 500, 502, 503, 504)


class ScorerUnavailable(RuntimeError):
    """The service gave no score; `scores` holds those of the texts before."""

    def __init__(self, message: str, scores: list[dict[str, float]]):
        super().__init__(message)
        self.scores = scores


class ServiceScorer:
    """Scores from a service over HTTP.

    Args:
        url: of the service, without a path.
        attributes: what to ask for, in the service's words.
        key: None for the setting COURSE_SCORER_KEY, if there is one.
        per_second: most requests a second.
        timeout: seconds that one request may take.
        retries: how often a busy or broken service is asked again, each time after a longer wait,
            or after as long as it asks for.
        clock, sleep: for tests.

    Raises:
        ValueError: for a url without http, no attributes, or a rate that is not positive.
    """

    def __init__(
        self,
        url: str,
        attributes: Sequence[str] = ("TOXICITY",),
        key: str | None = None,
        *,
        per_second: float = 1.0,
        timeout: float = 10.0,
        retries: int = 4,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}")
        if not attributes or not per_second > 0:
            raise ValueError(
                f"attributes must name one at least and per_second be positive, got {attributes!r} "
                f"and {per_second}"
            )
        self.url, self.attributes = url.rstrip("/") + PATH, tuple(attributes)
        self.interval, self.timeout = 1 / per_second, timeout
        self.clock, self.sleep, self.next_time = clock, sleep, -float("inf")
        self.session = requests.Session()
        retry = Retry(
            total=retries,
            backoff_factor=0.5,
            status_forcelist=BUSY_OR_BROKEN,
            allowed_methods=None,  # scoring a text twice does no harm
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry))
        key = secret("COURSE_SCORER_KEY") if key is None else key
        if key:
            self.session.headers["X-Goog-Api-Key"] = key

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return each attribute's probability for each text, names in small letters.

        Raises:
            ScorerUnavailable: where the service can't be reached, takes too long, refuses, or
                answers in another form; the scores that it gave before are in the error.
        """
        scores: list[dict[str, float]] = []
        for text in texts:
            wait = self.next_time - self.clock()
            if wait > 0:
                self.sleep(wait)
            self.next_time = self.clock() + self.interval
            failure = None
            try:
                scores.append(self.ask(text))
            except (requests.Timeout, requests.ConnectionError) as error:
                reason = getattr(error.args[0] if error.args else None, "reason", error)
                slow = type(reason) in (requests.ReadTimeout, ReadTimeoutError, ConnectTimeoutError)
                late = f"it took longer than {self.timeout:g} s"
                failure = late if slow else "it can't be reached"
            except (requests.RequestException, LookupError, TypeError, ValueError) as error:
                failure = str(error) if type(error) is Refused else "it answered in another form"
            if failure:  # raised outside the handler: the first error holds the text
                raise ScorerUnavailable(
                    f"the scoring service gave no score for text {len(scores)}: {failure}. The "
                    f"{len(scores)} scores before it are in the error's .scores; ask again for "
                    "the rest later, or use the small classifier of train_word_scorer",
                    scores,
                )
        return scores

    def ask(self, text: str) -> dict[str, float]:
        """Return the scores of one text."""
        reply = self.session.post(
            self.url,
            json={
                "comment": {"text": text},
                "requestedAttributes": {name: {} for name in self.attributes},
                "doNotStore": True,
            },
            timeout=self.timeout,
        )
        if reply.status_code != requests.codes.ok:
            raise Refused(f"it refused with status {reply.status_code}")
        found = reply.json()["attributeScores"]
        return {
            name.lower(): float(found[name]["summaryScore"]["value"]) for name in self.attributes
        }


class Refused(ValueError):
    """The service answered with another status than OK; the message holds it alone."""
