"""The examination behind `s3discovery doctor`: what is wrong between settings and a cluster, and its cure.

`finding` has the values and `faults` the table of all that can be named, with its cures; `diagnosis` leads
from the store's errors to them; those are pure. Each group of checks has a file of its own: `configuration`,
`identity`, `way` (with `certificate` and `tunnel`), `store`, `probe`, `neighbours`. `examination` puts them
in order, `show` shows what they found.
"""

from s3discovery.doctor.examination import examine
from s3discovery.doctor.finding import Finding, Verdict, as_json, exit_code, worst

__all__ = ["Finding", "Verdict", "as_json", "examine", "exit_code", "worst"]
