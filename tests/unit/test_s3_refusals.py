import pytest

from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    BucketMissingError,
    ClockSkewError,
    ConditionUnsupportedError,
    CredentialsRejectedError,
    ForeignAnswerError,
    ObjectMissingError,
    PreconditionError,
    StoreFaultError,
    ThrottledError,
    WrongRegionError,
)
from s3discovery.s3.location import locate
from s3discovery.s3.refusals import Question, explain
from s3discovery.s3.wire import Answer

MESH = locate("mesh", "us-gov-west-1")
DATE = {"date": "Sun, 06 Nov 1994 08:49:37 GMT"}


def refused(
    status: int,
    code: str = "",
    *,
    verb: str = "get",
    conditional: bool = False,
    headers: dict[str, str] = DATE,
) -> BucketError:
    body = f"<Error><Code>{code}</Code><Message>as it says</Message></Error>".encode() if code else b""
    return explain(Question(verb, MESH, "p/n1", conditional), Answer(status, headers, body))


@pytest.mark.parametrize(
    ("status", "code", "kind", "cure"),
    [
        (403, "AccessDenied", AccessDeniedError, "allow s3:GetObject on arn:aws-us-gov:s3:::mesh/p/n1"),
        (403, "", AccessDeniedError, "s3:GetObject"),
        (401, "", AccessDeniedError, "s3:GetObject"),
        (404, "NoSuchBucket", BucketMissingError, "create it or set s3-bucket-name"),
        (404, "NoSuchKey", ObjectMissingError, "'p/n1'"),
        (404, "", ObjectMissingError, "'p/n1'"),
        (403, "InvalidAccessKeyId", CredentialsRejectedError, "credentials-access-key-id"),
        (403, "SignatureDoesNotMatch", CredentialsRejectedError, "credentials-secret-access-key"),
        (400, "ExpiredToken", CredentialsRejectedError, "expired"),
        (400, "InvalidToken", CredentialsRejectedError, "credentials-session-token"),
        (400, "TokenRefreshRequired", CredentialsRejectedError, "fetch new"),
        (403, "RequestTimeTooSkewed", ClockSkewError, "clock"),
        (503, "SlowDown", ThrottledError, "poll-interval"),
        (503, "", ThrottledError, "fewer"),
        (429, "", ThrottledError, "fewer"),
        (412, "PreconditionFailed", PreconditionError, "meanwhile"),
        (412, "", PreconditionError, "meanwhile"),
        (409, "ConditionalRequestConflict", PreconditionError, "meanwhile"),
        (301, "PermanentRedirect", WrongRegionError, "s3-bucket-region"),
        (500, "InternalError", StoreFaultError, "look at the store"),
        (504, "", StoreFaultError, "look at the store"),
        (501, "NotImplemented", StoreFaultError, "NotImplemented"),
        (400, "KeyTooLongError", StoreFaultError, "file-prefix"),
        (405, "", StoreFaultError, "really an S3 endpoint"),
    ],
)
def test_kind_and_cure(status: int, code: str, kind: type[BucketError], cure: str) -> None:
    error = refused(status, code)
    assert type(error) is kind
    assert cure in str(error)
    assert (error.status, error.code, error.server_time_s) == (status, code or None, 784111777.0)


@pytest.mark.parametrize(
    ("verb", "permission"),
    [
        ("list", "allow s3:ListBucket on arn:aws-us-gov:s3:::mesh to"),
        ("get", "allow s3:GetObject on arn:aws-us-gov:s3:::mesh/p/n1 to"),
        ("put", "allow s3:PutObject on arn:aws-us-gov:s3:::mesh/p/n1 to"),
        ("delete", "allow s3:DeleteObject on arn:aws-us-gov:s3:::mesh/p/n1 to"),
    ],
)
def test_missing_permission_is_named(verb: str, permission: str) -> None:
    assert permission in str(refused(403, "AccessDenied", verb=verb))


@pytest.mark.parametrize(
    ("action", "why", "cure"),
    [
        ("s3:PutObjectTagging", "", "allow s3:PutObjectTagging on arn:aws-us-gov:s3:::mesh/p/n1 to"),
        ("s3:ListBucket", "", "allow s3:ListBucket on arn:aws-us-gov:s3:::mesh to"),
        ("kms:GenerateDataKey", "", "allow kms:GenerateDataKey on the KMS key to these credentials"),
        ("kms:Decrypt", " with an explicit deny in a policy", "remove the Deny of kms:Decrypt from"),
        ("[red]", "", "allow s3:PutObject on"),
        ("iam:PassRole", "", "allow s3:PutObject on"),
    ],
)
def test_action_is_the_one_that_the_refusal_names(action: str, why: str, cure: str) -> None:
    said = f"User: arn:aws:iam::1:user/kms:Encrypt is not authorized to perform: {action}{why}"
    body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>".encode()
    error = explain(Question("put", MESH, "p/n1"), Answer(403, DATE, body))
    assert type(error) is AccessDeniedError
    assert cure in str(error)


def test_all_keys_below_the_prefix_are_meant() -> None:
    assert "and on all else below file-prefix (s3discovery policy prints" in str(refused(403, "AccessDenied"))
    assert "all else" not in str(refused(403, "AccessDenied", verb="list"))


@pytest.mark.parametrize("status", [401, 403, 503])
@pytest.mark.parametrize("body", [b"<html>login</html>", b'{"error": "nope"}', b"x" * 5000])
def test_refusal_that_is_no_document_of_s3_is_not_its_own(status: int, body: bytes) -> None:
    question = Question("list", MESH, "p/")
    error = explain(question, Answer(status, DATE, body))
    assert type(error) is ForeignAnswerError
    assert "is s3-endpoint really an S3 endpoint" in str(error)
    assert ("does the store behind it run" in str(error)) is (status == 503)
    assert len(str(error)) < 300
    named = explain(question, Answer(status, {"x-amz-request-id": "1"}, body))
    assert type(named) is (ThrottledError if status == 503 else AccessDeniedError)


@pytest.mark.parametrize("key", ["a/../b/n1", "./n1", "a/./n1", ".."])
def test_dots_in_a_key_are_the_reason(key: str) -> None:
    body = b"<Error><Code>InvalidRequest</Code></Error>"
    error = explain(Question("put", MESH, key, conditional=True), Answer(400, {}, body))
    assert type(error) is StoreFaultError
    assert "choose a file-prefix without '.' or '..'" in str(error)


def test_explicit_deny_is_removed_not_outweighed() -> None:
    message = f"User: {'u' * 300} is not authorized with an explicit deny in an identity-based policy"
    body = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>".encode()
    error = explain(Question("get", MESH, "p/n1"), Answer(403, DATE, body))
    assert "remove the Deny of s3:GetObject" in str(error)
    assert error.said == message


@pytest.mark.parametrize(("status", "code"), [(501, ""), (400, "InvalidArgument"), (400, "")])
def test_condition_that_is_not_known(status: int, code: str) -> None:
    assert type(refused(status, code, verb="delete", conditional=True)) is ConditionUnsupportedError
    assert type(refused(status, code, verb="delete")) is StoreFaultError


def test_condition_on_what_is_missing_did_not_hold() -> None:
    assert type(refused(404, "NoSuchKey", verb="put", conditional=True)) is PreconditionError
    assert type(refused(404, "NoSuchBucket", verb="put", conditional=True)) is BucketMissingError


def test_right_region_named_by_the_store_is_no_wrong_region() -> None:
    error = refused(400, "InvalidRequest", headers={"x-amz-bucket-region": "us-gov-west-1"})
    assert type(error) is StoreFaultError


def test_region_is_a_line_to_write() -> None:
    error = refused(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-1"})
    assert "write s3-bucket-region:eu-west-1" in str(error)
    assert "s3-endpoint-region" not in str(error)


def test_texts_from_outside_are_shown_escaped_and_cut() -> None:
    body = b"<Error><Code>X&#10;Y</Code><Message>" + b"m" * 5000 + b"&#27;[31m</Message></Error>"
    error = explain(Question("get", MESH, "k\x1b\n"), Answer(400, {}, body))
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600
    region = explain(Question("get", MESH, "k"), Answer(301, {"x-amz-bucket-region": "a\x1bb"}))
    assert "\x1b" not in str(region)


@pytest.mark.parametrize(
    ("status", "code", "message", "more", "region"),
    [
        (400, "AuthorizationHeaderMalformed", "", "<Region>eu-west-1</Region>", "eu-west-1"),
        (301, "PermanentRedirect", "", "<Endpoint>mesh.s3-eu-west-1.amazonaws.com</Endpoint>", "eu-west-1"),
        (301, "PermanentRedirect", "", "<Endpoint>mesh.s3.eu-west-1.amazonaws.com</Endpoint>", "eu-west-1"),
        (301, "PermanentRedirect", "", "<Endpoint>my.mesh.s3.amazonaws.com</Endpoint>", "us-east-1"),
        (307, "TemporaryRedirect", "", "<Endpoint>mesh.s3-eu-west-1.amazonaws.com</Endpoint>", "eu-west-1"),
        (301, "PermanentRedirect", "", "<Endpoint>store.example.com</Endpoint>", None),
        (301, "PermanentRedirect", "", f"<Endpoint>{'a.' * 5000}s3.amazonaws.com</Endpoint>", None),
        (
            400,
            "IllegalLocationConstraintException",
            "The eu-west-1 location constraint is incompatible for the region specific endpoint",
            "",
            "eu-west-1",
        ),
        (
            400,
            "IllegalLocationConstraintException",
            "The unspecified location constraint is incompatible for the region specific endpoint",
            "",
            "us-east-1",
        ),
        (400, "IllegalLocationConstraintException", "no", "", None),
    ],
)
def test_ways_in_which_s3_names_another_region(
    status: int, code: str, message: str, more: str, region: str | None
) -> None:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()
    error = explain(Question("list", MESH, "p/"), Answer(status, {}, body))
    assert isinstance(error, WrongRegionError)
    assert error.region == region


ACCESS_POINT = locate("arn:aws:s3:eu-west-1:123456789012:accesspoint:mesh", "eu-west-1")


@pytest.mark.parametrize(
    ("verb", "permission"),
    [
        ("list", "allow s3:ListBucket on arn:aws:s3:eu-west-1:123456789012:accesspoint/mesh to these"),
        ("put", "allow s3:PutObject on arn:aws:s3:eu-west-1:123456789012:accesspoint/mesh/object/p/n1 to"),
    ],
)
def test_permission_at_an_access_point(verb: str, permission: str) -> None:
    error = explain(Question(verb, ACCESS_POINT, "p/n1"), Answer(403, {}))
    assert permission in str(error)
    assert "access point's policy and the bucket's" in str(error)


def test_access_point_that_is_not_there() -> None:
    body = b"<Error><Code>NoSuchAccessPoint</Code></Error>"
    error = explain(Question("list", ACCESS_POINT, ""), Answer(404, {}, body))
    assert type(error) is BucketMissingError
    assert "set s3-bucket-name to the bucket's name" in str(error)


def test_access_point_that_is_said_to_be_elsewhere() -> None:
    error = explain(Question("list", ACCESS_POINT, ""), Answer(301, {"x-amz-bucket-region": "eu-west-3"}))
    assert type(error) is WrongRegionError
    assert "write s3-bucket-name with the ARN" in str(error)
