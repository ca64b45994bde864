"""Ids, hosts and metadata as an enemy would write them into the bucket.

Each is something to a shell, a template, a configuration file or an argument parser. `MARK` is in every one:
wherever it turns up in what was rendered or run, something came through.
"""

MARK = "pwned"

HOSTILE_TEXTS: tuple[str, ...] = (
    f"'{MARK}'",
    f'"{MARK}"',
    f"a' {MARK} 'b",
    f'a" {MARK} "b',
    f"a\n{MARK}",
    f"a\r\n{MARK}: 1",
    f"a\x00{MARK}",
    f"a\x1b[31m{MARK}",
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"${{{MARK}}}",
    f"${MARK}",
    f"a;touch {MARK}",
    f"a&&touch {MARK}",
    f"a|{MARK}",
    f"a>{MARK}",
    f"a&{MARK}",
    f"{{{{ {MARK} }}}}",
    "{{ ''.__class__ }}" + MARK,
    f"{{% set {MARK} = 1 %}}",
    f"{{# {MARK} #}}",
    f"{{peers}}{MARK}",
    f"%s{MARK}",
    f"%({MARK})s",
    f"-{MARK}",
    f"-x{MARK}",
    f"--{MARK}=y",
    f"../{MARK}",
    f"../../etc/{MARK}",
    f"/etc/{MARK}",
    f"a/../{MARK}",
    f"~{MARK}",
    f".{MARK}",
    f"a b {MARK}",
    f"a\t{MARK}",
    f"a,{MARK}",
    f"a={MARK}",
    f"a#{MARK}",
    f"#{MARK}",
    f"a\\{MARK}",
    f"a*{MARK}?",
    f"[{MARK}]",
    f"<{MARK}>",
    f"a:{MARK}@b c",
    f"http://{MARK}/",
    f"tls://{MARK}:1883",
    f"127.0.0.1\n{MARK}",
    f"127.0.0.1;{MARK}",
    f"127.0.0.1 {MARK}",
    f"::1%{MARK}",
    f"[::1]:80 {MARK}",
    f"\u202e{MARK}",  # written from right to left from here on
    f"a\u200b{MARK}",  # a space of no width
    f"\uff0d\uff0d{MARK}",  # hyphens that are none
    f"\u0430{MARK}",  # a Cyrillic a
    f"a\u2028{MARK}",  # ends a line for some
    f"\u0661{MARK}",  # a digit to str.isdigit
    f"{MARK}\U0001f4a5",
    f"{MARK}{'a' * 400}",
)
