"""The policy allows what s3discovery asks for and no more, in every form that it is printed in."""

import json
import re
from pathlib import Path
from typing import Any

import hcl2
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.aws.policy import lifecycle_remarks, make_lifecycle_rule, make_policy, remarks
from s3discovery.aws.policy_formats import FORMATS, render_lifecycle, render_policy
from s3discovery.cli import main
from s3discovery.errors import SettingsError
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings
from s3discovery.settings.kinds import WrongTextError, read_prefix
from s3discovery.testing import make_settings

ACCESS_POINT = "arn:aws-us-gov:s3:us-gov-west-1:123456789012:accesspoint/nodes"
OPTIONS = (
    "s3-bucket-region=us-east-1",
    "s3-bucket-name=mesh",
    "file-prefix=nodes/",
    "file-expiration=6h",
    "update-interval=3h",
)
# Every character that one of the languages takes for more than itself.
ODD_PREFIX = 'a*?${b}$ $${ %{c}\\ "ü'


def statements(settings: Settings, *, read_only: bool = False) -> dict[str, Any]:
    policy = make_policy(settings, read_only=read_only)
    assert policy["Version"] == "2012-10-17"
    assert all(each["Effect"] == "Allow" for each in policy["Statement"])
    return {each["Sid"]: each for each in policy["Statement"]}


def meant(pattern: str) -> str:
    """Return what IAM makes of a text without wildcards: the escapes are undone."""
    return re.sub(r"\$\{([*?$])\}", r"\1", pattern)


class TestPolicy:
    def test_of_a_node(self) -> None:
        found = statements(make_settings(s3_bucket_name="mesh", file_prefix="nodes/"))
        assert set(found) == {"ListNodeFiles", "KeepNodeFiles"}
        listing, keeping = found["ListNodeFiles"], found["KeepNodeFiles"]
        assert listing["Action"] == ["s3:ListBucket"]
        assert listing["Resource"] == ["arn:aws:s3:::mesh"]
        assert listing["Condition"] == {"StringLike": {"s3:prefix": ["nodes/*"]}}
        assert keeping["Action"] == ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        assert keeping["Resource"] == ["arn:aws:s3:::mesh/nodes/*"]
        assert "Condition" not in keeping

    def test_of_an_observer_has_no_right_to_write(self) -> None:
        settings = make_settings(acl="private", object_tags="a=b", server_side_encryption="aws:kms")
        found = statements(settings, read_only=True)
        actions = [action for each in found.values() for action in each["Action"]]
        assert actions == ["s3:ListBucket", "s3:GetObject", "kms:Decrypt"]

    @pytest.mark.parametrize(
        ("region", "partition"),
        [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
    )
    def test_names_the_partition_of_the_region(self, region: str, partition: str) -> None:
        settings = make_settings(s3_bucket_region=region, server_side_encryption="aws:kms", kms_key_id="k-1")
        found = statements(settings)
        assert found["ListNodeFiles"]["Resource"] == [f"arn:{partition}:s3:::bucket"]
        assert found["UseKeyOfNodeFiles"]["Resource"] == [f"arn:{partition}:kms:{region}:*:key/k-1"]

    @pytest.mark.parametrize("separator", ["/", ":"])
    def test_of_an_access_point(self, separator: str) -> None:
        name = ACCESS_POINT.replace("accesspoint/", f"accesspoint{separator}")
        found = statements(make_settings(s3_bucket_name=name, s3_bucket_region="us-gov-west-1"))
        assert found["ListNodeFiles"]["Resource"] == [ACCESS_POINT]
        assert found["KeepNodeFiles"]["Resource"] == [f"{ACCESS_POINT}/object/nodes/*"]

    def test_an_empty_prefix_is_the_whole_bucket(self) -> None:
        found = statements(make_settings(file_prefix=""))
        assert "Condition" not in found["ListNodeFiles"]
        assert found["KeepNodeFiles"]["Resource"] == ["arn:aws:s3:::bucket/*"]

    def test_acl_and_tags_want_an_action_each(self) -> None:
        found = statements(make_settings(acl="bucket-owner-full-control", object_tags="team=iot"))
        assert found["KeepNodeFiles"]["Action"][3:] == ["s3:PutObjectAcl", "s3:PutObjectTagging"]

    def test_requester_pays_and_bucket_owner_want_nothing(self) -> None:
        plain, paying = (
            make_settings(),
            make_settings(requester_pays="true", expected_bucket_owner="123456789012"),
        )
        assert make_policy(paying) == make_policy(plain)


class TestClaim:
    @pytest.mark.parametrize("broker", ["rabbitmq", "something-else"])
    def test_of_brokers_with_a_founder_may_be_used(self, broker: str) -> None:
        settings = make_settings(broker=broker, seed_key="seeds/*one")
        found = statements(settings)
        keys = ["nodes/*", "seeds/${*}one"]
        assert found["KeepNodeFiles"]["Resource"] == [f"arn:aws:s3:::bucket/{key}" for key in keys]
        # Else S3 would not tell that there is none yet.
        assert found["ListNodeFiles"]["Condition"] == {"StringLike": {"s3:prefix": keys}}

    def test_has_a_key_made_from_the_prefix(self) -> None:
        settings = make_settings(broker="rabbitmq")
        assert statements(settings)["KeepNodeFiles"]["Resource"][1:] == [
            f"arn:aws:s3:::bucket/{claim_key(settings)}"
        ]

    @pytest.mark.parametrize("broker", ["none", "amqtt", "hivemq"])
    def test_is_nothing_to_others(self, broker: str) -> None:
        settings = make_settings(broker=broker, dns_listen="127.0.0.1:5353")
        assert len(statements(settings)["KeepNodeFiles"]["Resource"]) == 1

    def test_is_one_of_commands_that_join(self) -> None:
        plain = make_settings(broker="command", command="true")
        joining = make_settings(broker="command", command_join="true", command_cluster="true")
        counts = [len(statements(each)["KeepNodeFiles"]["Resource"]) for each in (plain, joining)]
        assert counts == [1, 2]

    def test_is_nothing_to_those_who_look(self) -> None:
        found = statements(make_settings(broker="rabbitmq"), read_only=True)
        assert len(found["ReadNodeFiles"]["Resource"]) == 1

    def test_is_below_an_empty_prefix_anyway(self) -> None:
        found = statements(make_settings(broker="rabbitmq", file_prefix=""))
        assert found["KeepNodeFiles"]["Resource"] == ["arn:aws:s3:::bucket/*"]


class TestKmsKey:
    @pytest.mark.parametrize(
        ("key", "resource", "alias"),
        [
            ("1234abcd", "arn:aws:kms:us-east-1:*:key/1234abcd", None),
            ("arn:aws:kms:us-east-1:111122223333:key/k", "arn:aws:kms:us-east-1:111122223333:key/k", None),
            ("alias/mqtt", "arn:aws:kms:us-east-1:*:key/*", "alias/mqtt"),
            (
                "arn:aws:kms:us-east-1:111122223333:alias/mqtt/a",
                "arn:aws:kms:us-east-1:111122223333:key/*",
                "alias/mqtt/a",
            ),
        ],
    )
    def test_is_named_as_policies_name_keys(self, key: str, resource: str, alias: str | None) -> None:
        found = statements(make_settings(server_side_encryption="aws:kms", kms_key_id=key))[
            "UseKeyOfNodeFiles"
        ]
        assert found["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert found["Resource"] == [resource]
        via, on_key = found["Condition"]["StringEquals"], found["Condition"].get("ForAnyValue:StringEquals")
        assert via == {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
        assert on_key == (None if alias is None else {"kms:ResourceAliases": alias})

    def test_is_in_the_region_of_an_access_point(self) -> None:
        settings = make_settings(
            s3_bucket_name=ACCESS_POINT, server_side_encryption="aws:kms", kms_key_id="k"
        )
        found = statements(settings)["UseKeyOfNodeFiles"]
        assert found["Resource"] == ["arn:aws-us-gov:kms:us-gov-west-1:*:key/k"]

    def test_that_is_not_named_is_any_and_said(self) -> None:
        settings = make_settings(s3_bucket_region="cn-north-1", server_side_encryption="aws:kms:dsse")
        found = statements(settings)["UseKeyOfNodeFiles"]
        assert found["Resource"] == ["arn:aws-cn:kms:cn-north-1:*:key/*"]
        assert found["Condition"] == {"StringEquals": {"kms:ViaService": "s3.cn-north-1.amazonaws.com.cn"}}
        assert "kms-key-id" in "".join(remarks(settings))

    def test_is_none_of_ours_without_kms(self) -> None:
        assert "UseKeyOfNodeFiles" not in statements(make_settings(server_side_encryption="AES256"))


class TestEscapes:
    @pytest.mark.parametrize(
        ("prefix", "pattern"),
        [
            ("a*b/", "a${*}b/*"),
            ("a?b/", "a${?}b/*"),
            ("${aws:username}/", "${$}{aws:username}/*"),
            ("a$b{}/", "a$b{}/*"),
        ],
    )
    def test_of_what_policies_take_for_more(self, prefix: str, pattern: str) -> None:
        found = statements(make_settings(file_prefix=prefix))
        assert found["ListNodeFiles"]["Condition"] == {"StringLike": {"s3:prefix": [pattern]}}
        assert found["KeepNodeFiles"]["Resource"] == [f"arn:aws:s3:::bucket/{pattern}"]

    def test_what_policies_cannot_hold_becomes_a_wildcard_and_is_said(self) -> None:
        settings = make_settings(file_prefix="ü*☃🎉/")
        found = statements(settings)
        assert found["ListNodeFiles"]["Condition"] == {"StringLike": {"s3:prefix": ["ü${*}*/*"]}}
        assert found["KeepNodeFiles"]["Resource"] == ["arn:aws:s3:::bucket/ü${*}*/*"]
        assert "U+00FF" in "".join(remarks(settings))

    @given(
        st.text(st.characters(min_codepoint=32, max_codepoint=255) | st.sampled_from("*?${}"), max_size=20)
    )
    def test_mean_the_prefix_again(self, prefix: str) -> None:
        try:
            read_prefix(prefix)
        except WrongTextError:
            return
        found = statements(make_settings(file_prefix=prefix))
        (resource,) = found["KeepNodeFiles"]["Resource"]
        pattern = resource.removeprefix("arn:aws:s3:::bucket/")
        assert meant(pattern) == f"{prefix}*"
        # No character is left that means more than itself, but for the last.
        assert re.search(r"[*?]|\$\{", re.sub(r"\$\{[*?$]\}", "", pattern.removesuffix("*"))) is None
        if prefix:
            assert found["ListNodeFiles"]["Condition"] == {"StringLike": {"s3:prefix": [pattern]}}


class TestRemarks:
    def test_none_where_all_is_plain(self) -> None:
        assert list(remarks(make_settings())) == []

    def test_anonymous_has_nobody_to_allow_it_to(self) -> None:
        assert "Principal" in "".join(remarks(make_settings(credentials_type="anonymous")))

    def test_the_alias_of_an_access_point(self) -> None:
        assert "ARN" in "".join(remarks(make_settings(s3_bucket_name="nodes-abc123-s3alias")))


class TestLifecycle:
    @pytest.mark.parametrize(
        ("expiration", "days"), [("60s", 1), ("1d", 1), ("24h", 1), ("86401s", 2), ("30d", 30), ("721h", 31)]
    )
    def test_never_removes_before_expiry(self, expiration: str, days: int) -> None:
        rule = make_lifecycle_rule(make_settings(file_expiration=expiration))
        assert rule.days == days
        assert f"{days * 24} h" in "".join(lifecycle_remarks(rule))

    def test_refuses_what_would_remove_more_than_dead_nodes(self) -> None:
        settings = make_settings(
            file_prefix="",
            file_expiration="0",
            update_interval="0",
            s3_bucket_name=ACCESS_POINT,
            s3_bucket_region="us-gov-west-1",
        )
        with pytest.raises(SettingsError) as raised:
            make_lifecycle_rule(settings)
        assert {problem.key for problem in raised.value.problems} == {
            "file-prefix",
            "file-expiration",
            "s3-bucket-name",
        }

    def test_the_alias_of_an_access_point_is_no_bucket(self) -> None:
        with pytest.raises(SettingsError, match="belongs to it, not to an access point"):
            make_lifecycle_rule(make_settings(s3_bucket_name="nodes-abc123-s3alias"))

    def test_tags_narrow_it(self) -> None:
        rule = make_lifecycle_rule(make_settings(object_tags="team=iot,stage=prod"))
        chosen = json.loads(render_lifecycle(rule, "json"))["Rules"][0]["Filter"]
        tags = [{"Key": "team", "Value": "iot"}, {"Key": "stage", "Value": "prod"}]
        assert chosen == {"And": {"Prefix": "nodes/", "Tags": tags}}
        assert "object-tags" in "".join(lifecycle_remarks(rule))


def terraform_value(expression: str) -> Any:
    """Evaluate an expression of objects, lists and strings, as Terraform does."""

    def text(found: re.Match[str]) -> str:
        raw = found[0][1:-1].replace("$${", "${").replace("%%{", "%{")
        raw = re.sub(r"\\U([0-9a-f]{8})", lambda escape: chr(int(escape[1], 16)), raw)
        raw = re.sub(r"\\u([0-9a-f]{4})", lambda escape: chr(int(escape[1], 16)), raw)
        return json.dumps(re.sub(r"\\(.)", r"\1", raw))

    string, word = r'"(?:[^"\\]|\\.)*"', r"[A-Za-z_]\w*(?= *[=:])"
    spelled = re.sub(
        rf"{string}|{word}|=|, *(?=[\]}}])",
        lambda found: (
            text(found)
            if found[0].startswith('"')
            else {"=": ":"}.get(found[0], "" if found[0].startswith(",") else json.dumps(found[0]))
        ),
        expression,
    )
    return json.loads(spelled)


def terraform_resource(text: str, kind: str) -> dict[str, Any]:
    blocks = hcl2.loads(text)["resource"]
    assert len(blocks) == 1
    (named,) = [value for name, value in blocks[0].items() if name.strip('"') == kind]
    (body,) = [value for name, value in named.items() if name.strip('"') == "s3discovery"]
    assert isinstance(body, dict)
    return body


class TestForms:
    settings = make_settings(
        file_prefix=ODD_PREFIX,
        server_side_encryption="aws:kms",
        kms_key_id="alias/mqtt",
        object_tags="a b=c,d=",
    )

    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("prefix", [ODD_PREFIX, "☃🎉/"])
    def test_are_plain_ascii(self, form: str, prefix: str) -> None:
        settings = make_settings(file_prefix=prefix)
        assert render_policy(make_policy(settings), form).isascii()
        assert render_lifecycle(make_lifecycle_rule(settings), form).isascii()

    def test_json_is_the_policy(self) -> None:
        policy = make_policy(self.settings)
        assert json.loads(render_policy(policy, "json")) == policy

    def test_cloudformation_is_valid_and_holds_the_policy(self) -> None:
        policy = make_policy(self.settings)
        text = render_policy(policy, "cloudformation")
        assert findings(text) == []
        resource = json.loads(text)["Resources"]["S3DiscoveryPolicy"]
        assert resource["Properties"]["PolicyDocument"] == policy

    def test_cloudformation_of_the_rule_is_valid(self) -> None:
        text = render_lifecycle(make_lifecycle_rule(self.settings), "cloudformation")
        assert findings(text) == []
        (rule,) = json.loads(text)["Resources"]["NodeFiles"]["Properties"]["LifecycleConfiguration"]["Rules"]
        assert rule["Prefix"] == ODD_PREFIX
        assert rule["TagFilters"] == [{"Key": "a b", "Value": "c"}, {"Key": "d", "Value": ""}]

    def test_terraform_holds_the_policy(self) -> None:
        policy = make_policy(self.settings)
        body = terraform_resource(render_policy(policy, "terraform"), "aws_iam_policy")
        expression = re.fullmatch(r"\$\{jsonencode\((.*)\)\}", body["policy"], re.DOTALL)
        assert expression is not None
        assert terraform_value(expression[1]) == policy

    def test_terraform_holds_the_rule(self) -> None:
        rule = make_lifecycle_rule(self.settings)
        body = terraform_resource(
            render_lifecycle(rule, "terraform"), "aws_s3_bucket_lifecycle_configuration"
        )
        assert terraform_value(body["bucket"]) == rule.bucket
        written = body["rule"][0]
        chosen = written["filter"][0]["and"][0]
        assert terraform_value(chosen["prefix"]) == ODD_PREFIX
        assert written["expiration"][0]["days"] == rule.days
        tags = {terraform_value(name): terraform_value(value) for name, value in chosen["tags"].items()}
        assert tags == dict(rule.tags)

    def test_terraform_without_tags_filters_by_prefix_alone(self) -> None:
        rule = make_lifecycle_rule(make_settings())
        body = terraform_resource(
            render_lifecycle(rule, "terraform"), "aws_s3_bucket_lifecycle_configuration"
        )
        assert terraform_value(body["rule"][0]["filter"][0]["prefix"]) == "nodes/"


def findings(template: str) -> list[str]:
    """Return what AWS's own linter says of a CloudFormation template."""
    from cfnlint.api import lint

    return [str(found) for found in lint(template, regions=["us-east-1"])]


def call(*arguments: str) -> Result:
    words = [word for text in OPTIONS for word in ("-o", text)]
    return CliRunner().invoke(main, ["policy", *words, *arguments], catch_exceptions=False)


class TestCommand:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("S3_FILE_PREFIX", raising=False)

    def test_prints_the_document_alone(self) -> None:
        result = call()
        assert result.exit_code == 0
        assert json.loads(result.stdout)["Statement"][1]["Resource"] == ["arn:aws:s3:::mesh/nodes/*"]
        assert result.stderr == ""

    @pytest.mark.parametrize("kind", ["access_key", "temporary_session", "assume_role"])
    def test_needs_no_keys(self, kind: str) -> None:
        """Without the policy there are none yet."""
        result = call("-o", f"credentials-type={kind}")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == json.loads(call().stdout)

    def test_anonymous_is_remarked_on(self) -> None:
        assert "credentials-type:anonymous has no identity" in call("-o", "credentials-type=anonymous").stderr

    def test_read_only(self) -> None:
        assert "PutObject" not in call("--read-only").stdout

    @pytest.mark.parametrize("form", FORMATS)
    def test_remarks_of_the_rule_stay_off_the_document(self, form: str) -> None:
        result = call("--lifecycle", "--format", form)
        assert result.exit_code == 0
        assert "whole days" in result.stderr
        assert "whole days" not in result.stdout
        assert "s3discovery-dead-nodes" in result.stdout

    def test_a_rule_that_would_hurt_is_refused(self) -> None:
        result = call("--lifecycle", "-o", "file-prefix=")
        assert result.exit_code == 2
        assert "file-prefix" in result.stderr
        assert result.stdout == ""

    def test_a_rule_has_no_readers(self) -> None:
        assert call("--lifecycle", "--read-only").exit_code == 2
