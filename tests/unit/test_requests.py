"""How many requests a run takes on S3: planning goes by listings, a thousand names each."""

import bisect
import itertools
from datetime import date, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from s3_services import Fault, Proxy

from reprocess.archive.catalogue import scan
from reprocess.campaign import Archive

PER_DAY = 24
YEARS = range(2018, 2023)


class Listing:
    """An archive of any number of names, that answers ListObjectsV2 as S3 does and nothing else."""

    def __init__(self, names):
        self.names = sorted(names)
        self.proxy = Proxy(None)
        self.proxy.fault = self._answer

    def _answer(self, request):
        query = {k: v[0] for k, v in parse_qs(urlsplit(request.path).query).items()}
        assert (request.method, query["list-type"]) == ("GET", "2")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start = query.get("continuation-token") or prefix
        contents, prefixes = [], []
        index = bisect.bisect_left(self.names, start)
        more = ""
        while index < len(self.names) and self.names[index].startswith(prefix):
            if len(contents) + len(prefixes) == 1000:
                more = self.names[index]
                break
            head, found, _ = self.names[index][len(prefix) :].partition("/")
            if delimiter and found:
                prefixes.append(f"{prefix}{head}/")
                index = bisect.bisect_left(self.names, f"{prefix}{head}0")  # "0" follows "/"
                continue
            contents.append(self.names[index])
            index += 1
        body = "".join(
            f"<Contents><Key>{quote(name)}</Key><Size>7</Size><ETag>&quot;e&quot;</ETag></Contents>"
            for name in contents
        ) + "".join(
            f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>" for name in prefixes
        )
        tail = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        return Fault(
            status=200,
            body=f"<ListBucketResult><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{tail}{body}"
            f"</ListBucketResult>".encode(),
        )


def days(year):
    first = date(year, 1, 1)
    return [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]


def archive_names(form):
    """Names of five years, one a quarter of an hour … as `form` lays them out."""
    for year, hour in itertools.product(YEARS, range(PER_DAY)):
        for day in days(year):
            yield day.strftime(form).replace("HH", f"{hour:02d}")


@pytest.fixture
def listing(monkeypatch):
    made = []

    def make(names):
        made.append(Listing(names))
        monkeypatch.setenv("AWS_ENDPOINT_URL", made[-1].proxy.endpoint)
        return made[-1]

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield make
    for each in made:
        each.proxy.close()


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("%Y/%m%d/%Y%m%d_HH.jpg", "%Y/%m%d/%Y%m%d_%H%M.jpg"),
        ("%Y/%m/%d/HH00.jpg", "%Y/%m/%d/%H%M.jpg"),
        ("%Y%m%d/HH00.jpg", "%Y%m%d/%H%M.jpg"),
        ("KHO/%Y/%m%d_HH00.jpg", "KHO/%Y/%m%d_%H%M.jpg"),
        ("cam1/%Y/%j/HH00.jpg", "cam*/%Y/%j/%H%M.jpg"),
    ],
)
def test_a_year_of_a_large_archive_is_listed_by_its_own_names(listing, form, pattern):
    form = form.replace("_HH.", "_HH00.")
    names = list(archive_names(form))
    made = listing(names)
    found = scan(Archive(url="s3://bucket", pattern=pattern), [2020])
    assert sum(len(entries) for entries in found.days.values()) == (366 + 1) * PER_DAY
    assert min(found.days) == date(2019, 12, 31)
    n_year = 366 * PER_DAY
    directories = 8  # the root, the directories above the year, 31 December and its own
    assert len(names) > 40_000
    assert len(made.proxy.requests) <= n_year / 1000 + 1 + directories


def test_all_years_of_a_hundred_thousand_names_are_listed_in_pages_of_a_thousand(listing):
    frames = list(archive_names("%Y/%m%d_HH00"))
    names = [f"{name}{suffix}.jpg" for name in frames for suffix in "abc"]
    made = listing(names)
    found = scan(Archive(url="s3://bucket", pattern="%Y/%m%d_%H%M*.jpg"), YEARS)
    assert sum(len(entries) for entries in found.days.values()) == len(names) > 100_000
    assert len(made.proxy.requests) <= len(names) / 1000 + 2 * len(YEARS) + 2


def test_a_run_with_nothing_to_do_takes_a_few_requests(tiny, moto_s3, proxied):
    """The rule is 1000 requests and one for each 1000 names; this is far inside of it."""
    tiny.put_days(*(f"2021-01-{day:02d}" for day in range(1, 5)))
    bucket = moto_s3.make_bucket()
    moto_s3.upload(f"{bucket}/archive", tiny.archive)
    tiny.document["years"] = [2021]
    tiny.document["archive"]["url"] = f"{bucket}/archive"
    tiny.document["store"] = f"{bucket}/store"
    first = tiny.run()
    assert first.code == 0, first.err
    assert (first.code, first.done) == (0, 4), first.err
    per_day = len(proxied.requests) / 4
    before = len(proxied.requests)
    again = tiny.run()
    assert (again.code, again.done) == (0, 0), again.err
    spent = proxied.requests[before:]
    assert len(spent) <= 40
    assert not [request for request in spent if ".npy" in request.path]
    dry = len(proxied.requests)
    tiny.run("--dry-run")
    assert len(proxied.requests) - dry <= 30
    assert per_day < 400
