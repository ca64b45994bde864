"""Which bucket and prefix the node files are in, and how long they count."""

from s3discovery.settings import durations, kinds
from s3discovery.settings.keys.key import HIVEMQ_3, HIVEMQ_4, Key

PLACE: tuple[Key, ...] = (
    Key(
        "s3-bucket-region",
        "bucket_region",
        kinds.read_region,
        "Region the bucket is in.",
        "us-east-1",
        required=True,
    ),
    Key(
        "s3-bucket-name",
        "bucket_name",
        kinds.read_bucket_name,
        "Name of the bucket; or the alias or ARN of an access point, whose region then counts.",
        "hivemq",
        required=True,
    ),
    Key(
        "file-prefix",
        "file_prefix",
        kinds.read_prefix,
        "What the key of every node file begins with; empty: every object of the bucket is looked at. Also "
        "read from S3_FILE_PREFIX.",
        "hivemq/cluster/nodes/",
        required=True,
    ),
    Key(
        "file-expiration",
        "file_expiration_s",
        durations.read_minutes,
        "Age at which a node file stands for a dead node: so long a killed node stays a member. A bare "
        "number is minutes (hivemq-4: seconds); 0 with update-interval 0 switches expiry off.",
        "15m",
        required=True,
        show=durations.show_duration,
        read_4=durations.read_seconds,
    ),
    Key(
        "update-interval",
        "update_interval_s",
        durations.read_minutes,
        "How often the own file is refreshed; must be shorter than file-expiration. Each refresh is a PUT, "
        "and a GET by every other node. A bare number is minutes (hivemq-4: seconds).",
        "5m",
        required=True,
        show=durations.show_duration,
        read_4=durations.read_seconds,
    ),
    Key(
        "poll-interval",
        "poll_interval_s",
        durations.read_poll_interval,
        "How often the bucket is listed, 100ms to 1d; each time is a LIST. A bare number is seconds.",
        "10s",
        default="60s",
        show=durations.show_duration,
    ),
    Key(
        "compatibility",
        "compatibility",
        kinds.one_of(HIVEMQ_3, HIVEMQ_4),
        "hivemq-3 (node files of version 1, bare numbers are minutes) or hivemq-4 (version 4, seconds; "
        "variables are expanded). Both versions are always read. A file that is called config.properties, or "
        "lies in the folder of HiveMQ 4's extension, is taken for hivemq-4 unless it says otherwise.",
        HIVEMQ_4,
        default=HIVEMQ_3,
    ),
)
