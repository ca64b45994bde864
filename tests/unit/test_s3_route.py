"""Where a call is sent that the store sends elsewhere."""

from s3discovery.errors import WrongRegionError
from s3discovery.s3.call import Call
from s3discovery.s3.location import locate
from s3discovery.s3.refusals import Question
from s3discovery.s3.route import Route


def elsewhere(region: str) -> WrongRegionError:
    return WrongRegionError(f"it is in {region}", region=region)


def test_a_store_that_names_a_new_region_each_time_is_followed_once() -> None:
    location = locate("mesh", "us-east-1")
    route = Route(location, {})
    call = Call(Question("list", location, "p/"), "GET", location.list_url("p/", None))
    assert route.leads_on(call, elsewhere("eu-west-1"))
    assert call.question.location.region == "eu-west-1"
    assert not route.leads_on(call, elsewhere("eu-west-2"))
    assert call.question.location.region == "eu-west-1"


def test_what_is_named_at_last_is_told() -> None:
    location = locate("mesh", "us-east-1")
    route = Route(location, {})
    call = Call(Question("list", location, "p/"), "GET", location.list_url("p/", None))
    first = elsewhere("eu-west-1")
    route.leads_on(call, first)
    assert route.verdict(call, elsewhere("eu-west-2")) is first
    assert route.location == location, "nothing was found there"
