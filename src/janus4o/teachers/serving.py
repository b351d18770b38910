"""What teachers behind any API share: the key, the price list, which model is meant, careful words."""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import time
from enum import Enum

import httpx2

from janus4o.errors import BudgetStop, ImageError, Refused
from janus4o.exchange import PaintRequest, Picture, Refusal, Unanswered, Usage, WriteRequest
from janus4o.images import MEDIA_TYPES, kind_of, read_size
from janus4o.ledger.limits import LEAVING
from janus4o.ledger.prices import Price
from janus4o.recipe import PainterServer, Rates, Server, WriterServer
from janus4o.teachers import registry

MAX_WORDS = 300
"""Characters kept of what a server says about a failure."""
NOT_BILLED = {408, 409, 429, 500, 503, 529}
"""Statuses of calls that were not carried out. What a gateway gave up on (502, 504) may have been."""


class Meaning(Enum):
    """What an answer that is no answer means, whatever the vendor's words for it."""

    EMPTY = "the account is empty"
    KEY = "the key may not"
    GONE = "no such model"
    LATER = "ask again"
    MODERATED = "this is not wanted"
    SETTING = "a parameter of the recipe is wrong"
    BAD = "this request is wrong"
    ELSEWHERE = "nobody here speaks this"


AGAIN = "then run the same command again to go on"


async def tell_when_out(request: httpx2.Request) -> None:
    """A client's hook: says when a request is wholly with the system, after connecting and encoding."""
    leaving = LEAVING.get()

    async def heard(event: str, _: object) -> None:
        if leaving is not None and event.endswith("send_request_body.complete"):
            leaving()

    request.extensions = {**request.extensions, "trace": heard}


class Served:
    """A model behind a server.

    Args:
        server: the recipe's; its key is read from the environment here and never kept elsewhere.
        asking: False where nothing will be asked (a plan): no key is needed then.

    Raises:
        Refused: there is no such variable in the environment.
    """

    def __init__(self, server: Server, asking: bool = True) -> None:
        key = os.environ.get(server.key, "").strip() if asking else "none"
        if not key:
            raise Refused(
                f"the key of {server.model!r} is not there: {server.key} is not in the environment",
                f"export {server.key}=... (any word for a server that asks for none)",
            )
        self.name = server.model
        self._server = server
        self._key = key
        self._known = registry.find(server.model)
        self._rates = server.price or (self._known.rates if self._known else None)

    @property
    def rates(self) -> Rates | None:
        return self._rates

    def serves(self, model: str) -> bool:
        """The name asked for, perhaps with a date after it or a provider before it."""
        if self._server.served is not None:
            return model == self._server.served
        asked, answered = (name.rpartition("/")[2] for name in (self.name, model))
        return (
            answered == asked or re.fullmatch(r"-[\d-]+", answered.removeprefix(asked)) is not None
        )

    def words(self, text: object) -> str:
        """A server's words, short, on one line, and without the key should it repeat it."""
        said = " ".join(str(text).replace(self._key, "[key]").split())
        # Keys are echoed in part as well ("sk-abc***xyz"): nothing that looks like one is kept.
        return re.sub(r"\b(sk|AIza)[-\w*]{6,}", "[key]", said)[:MAX_WORDS]

    def timed_out(self) -> Unanswered:
        return Unanswered(f"no answer within {self._server.timeout:g} seconds")

    def disconnected(self, cause: BaseException | None) -> Unanswered:
        """A broken connection; what never reached the server costs nothing."""
        never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
        words = f"no connection: {cause}" if never_sent else f"connection lost: {cause}"
        return Unanswered(self.words(words), Usage(cost_usd=0.0 if never_sent else None))

    def outcome(
        self, meaning: Meaning, status: int, words: str, later: float | None, detail: str
    ) -> Refusal | Unanswered:
        """What the run does about an answer that is no answer.

        Args:
            words: the server's, clean.
            later: seconds it wants to be left alone.
            detail: of what was moderated or bad, the category; of a setting, its name.
        """
        free, model, named = Usage(cost_usd=0.0), self.name, f"the server of {self.name!r}"
        match meaning:
            case Meaning.LATER:
                usage = free if status in NOT_BILLED else Usage(cost_usd=None)
                return Unanswered(words, usage, limited=status == 429, retry_after=later)
            case Meaning.MODERATED:
                category = f"moderation/{detail}" if detail else "moderation"
                return Refusal(category, words, model, free)
            case Meaning.BAD:
                category = f"bad_request/{detail}" if detail else "bad_request"
                return Refusal(category, words, model, free)
            case Meaning.EMPTY:
                message = f"the account of {model!r} is empty: {words}"
                return Unanswered(words, free, stop=BudgetStop(message, f"top it up, {AGAIN}"))
            case Meaning.KEY:
                message = f"{named} refuses the key in {self._server.key}: {words}"
                remedy = f"check the key and what it may use, {AGAIN}"
            case Meaning.GONE:
                message = f"{model!r} is not served (any more): {words}"
                remedy = (
                    "ask for a model that is served, in a new run folder; "
                    "`janus4o doctor --live` lists them"
                )
            case Meaning.SETTING:
                message = f"{named} does not accept {detail!r}: {words}"
                remedy = f"correct it in the recipe, {AGAIN}"
            case Meaning.ELSEWHERE:
                message, remedy = f"{named} answers {words}", "check base_url"
        return Unanswered(words, free, stop=Refused(message, remedy))

    def share(self, asked: WriteRequest | PaintRequest) -> float:
        """What a request costs the way it is asked, of the price in the list."""
        return 1.0

    def cost(
        self, asked: WriteRequest | PaintRequest, text: int, pictures: int, out: int
    ) -> float | None:
        """US dollars for tokens in and out."""
        rates = self._rates
        if rates is None:
            return None
        of_pictures = rates.input if rates.image_input is None else rates.image_input
        whole = (text * rates.input + pictures * of_pictures + out * rates.output) / 1e6
        return whole * self.share(asked)

    def picture_tokens(self, pictures: tuple[Picture, ...]) -> int:
        """What pictures sent are reckoned as, on the safe side."""
        each = self._known.picture_tokens if self._known else 5000
        total = 0.0
        for picture in pictures:
            try:
                width, height = read_size(picture.data)
            except ImageError:
                width = height = 1024
            total += each * max(0.25, width * height / 1e6)
        return round(total)


class ServedWriter(Served):
    """What any writer behind an API costs at most."""

    def __init__(self, server: WriterServer, asking: bool = True) -> None:
        super().__init__(server, asking)
        self._writer = server

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        pictures = request.pictures if isinstance(request, WriteRequest) else ()
        return (
            most_tokens(request.prompt)
            + self.picture_tokens(pictures)
            + self._writer.max_output_tokens
        )

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        pictures = request.pictures if isinstance(request, WriteRequest) else ()
        seen = self.picture_tokens(pictures)
        most = self.cost(request, most_tokens(request.prompt), seen, self._writer.max_output_tokens)
        likely = self.cost(request, likely_tokens(request.prompt), seen // 2, 150)
        return None if most is None or likely is None else Price(most, min(most, likely))


class ServedPainter(Served):
    """What any painter behind an API costs at most, and what it can be asked for."""

    max_categories = 100

    def __init__(self, server: PainterServer, asking: bool = True) -> None:
        super().__init__(server, asking)
        self._painter = server
        known = self._known
        if known and known.quality and server.quality not in (None, *known.quality):
            raise Refused(
                f"{self.name!r} has no quality {server.quality!r}",
                f"teachers.painter.quality is one of {', '.join(known.quality)}",
            )

    def refuses(self, size: tuple[int, int]) -> str:
        """Why a size cannot be asked for, as far as the model is known; empty where it can."""
        return self._known.sizes.refuses(size) if self._known else ""

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        sources = request.sources if isinstance(request, PaintRequest) else ()
        return most_tokens(request.prompt) + self.picture_tokens(sources) + 5000

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        rates = self._rates
        if rates is None or not rates.picture or not isinstance(request, PaintRequest):
            return None
        quality = self._painter.quality
        dearest = max(rates.picture.values())
        each = rates.picture.get(quality or "", dearest)
        width, height = request.size or (1024, 1024)
        # Tokens grow with the pixels, but not below those of a square of 1024, and oblong
        # pictures are not cheaper in proportion: half as much again is left as a margin.
        picture = each * max(1.0, width * height / 1024**2) * self.share(request)
        seen = self.picture_tokens(request.sources)
        most = self.cost(request, most_tokens(request.prompt), seen, 0)
        likely = self.cost(request, likely_tokens(request.prompt), seen // 2, 0)
        assert most is not None
        assert likely is not None
        return Price(most + 1.5 * picture, likely + picture)

    def usage_of(
        self, request: PaintRequest, images: int, put_in: int | None, seen: int, out: int | None
    ) -> Usage:
        """What a reply of so many pictures used.

        Args:
            put_in: tokens in all, `seen` of them of pictures, and `out`; None where not counted.
        """
        if put_in is None or out is None or (self._rates and not self._rates.output):
            # A server that counts nothing, or is paid by the picture.
            price = self.price(request)
            cost = None if price is None else (price.low_usd if images else price.call_usd)
            return Usage(put_in or 0, out or 0, images, cost)
        seen = min(put_in, seen)
        return Usage(put_in, out, images, self.cost(request, put_in - seen, seen, out))

    def picture(self, data: bytes, usage: Usage) -> Picture:
        """What a server sent as a picture; raises Unanswered where it is none."""
        try:
            kind = kind_of(data)
            read_size(data)
        except ImageError as error:
            raise Unanswered(self.words(error.message), usage) from None
        return Picture(data, MEDIA_TYPES[kind])


def retry_after(milliseconds: str | None, seconds_or_date: str | None) -> float | None:
    """What the headers `retry-after-ms` and `retry-after` say, in seconds; None where nothing."""
    for text, unit in ((milliseconds, 1000.0), (seconds_or_date, 1.0)):
        with contextlib.suppress(ValueError, TypeError):
            wait = float(text or "") / unit
            if 0 <= wait < float("inf"):
                return wait
    with contextlib.suppress(ValueError, TypeError):
        when = email.utils.parsedate_to_datetime(seconds_or_date or "")
        return max(0.0, when.timestamp() - time.time())
    return None


def without_fence(text: str) -> str:
    """JSON without the fence some models put around it."""
    return re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())


def count_of(counted: object, name: str) -> int | None:
    number = getattr(counted, name, None)
    return number if isinstance(number, int) and 0 <= number < 10**9 else None


def most_tokens(text: str) -> int:
    """More than any tokenizer makes of a text in a language written in words."""
    return len(text.encode("utf-8", "surrogatepass")) // 2 + 64


def likely_tokens(text: str) -> int:
    return len(text) // 4 + 16
