"""Messages per second through amqtt, as figures; `bench.messages` does the measuring."""

from bench import messages
from bench.report import Figure, Part, progress, show_figures

MESSAGES, REPEAT = 10_000, 3
QUICK_MESSAGES, QUICK_REPEAT = 3_000, 1
WANTED_SHARE = 0.5  # of what amqtt alone delivers, for clients of one node


def measure(*, quick: bool) -> Part:
    """Measure and print."""
    count, repeat = (QUICK_MESSAGES, QUICK_REPEAT) if quick else (MESSAGES, REPEAT)
    progress("messages through amqtt: about a minute" if not quick else "messages through amqtt")
    rates = messages.measure_all(count, repeat)
    progress("")
    messages.show(rates, count, repeat)
    print()
    alone, local, across = messages.CASES
    figures = []
    for qos in (0, 1):
        share = rates[local, qos] / rates[alone, qos]
        figures.append(
            Figure(
                f"local delivery against amqtt alone, QoS {qos}",
                share,
                "times",
                f">= {WANTED_SHARE:g}",
                share >= WANTED_SHARE,
            )
        )
        share = rates[across, qos] / rates[alone, qos]
        figures.append(Figure(f"delivery across two nodes against amqtt alone, QoS {qos}", share, "times"))
    show_figures(figures)
    raw = [{"case": case, "qos": qos, "per_s": rate} for (case, qos), rate in rates.items()]
    return Part("messages", figures, raw)
