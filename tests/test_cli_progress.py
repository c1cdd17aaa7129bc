"""Progress: plain lines where there is no terminal, one live line where there is one."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from genlearn.model import Event
from genlearn.progress import Progress, duration

VAE = SimpleNamespace(name=lambda: "vae")


def told(events, **console):
    out = io.StringIO()
    with Progress(Console(file=out, **{"width": 100, **console}), every=0.0) as watch:
        for event in events:
            watch(event)
    return out.getvalue()


def test_plain_lines_hold_step_values_and_time_left():
    line = told([Event(VAE, "train", 250, 1000, 5.0, {"nats": -41.23, "kl": 9.81, "best": -40.0})])
    assert line == "vae      train 250 of 1,000  nats -41.2  kl 9.81  5.0 s, ETA 15 s\n"


def test_the_last_line_says_how_it_ended():
    line = told([Event(VAE, "fit", 41, None, 75.2, {"nats": -12400.4}, done=True, note="converged after 41 passes")])
    assert line == "vae      nats -12,400  converged after 41 passes  1 min 15 s\n"


def test_plain_lines_are_rare_unless_there_is_something_to_say():
    out = io.StringIO()
    watch = Progress(Console(file=out, width=100), every=1e9)
    for step in range(50):
        watch(Event(VAE, "train", step, 50, step / 10, {}))
    watch(Event(VAE, "resume", 50, 50, 5.0, {}, note="resumed at step 50"))
    assert out.getvalue() == "vae      resume 50 of 50  resumed at step 50  5.0 s\n"


def test_a_terminal_gets_a_bar_and_no_colour_is_obeyed(monkeypatch):
    events = [
        Event(VAE, "train", 500, 1000, 5.0, {"nats": -41.2}),
        Event(VAE, "train", 1000, 1000, 9.0, {"nats": -40.0}, done=True),
    ]
    shown = told(events, force_terminal=True)
    assert "█" * 13 + "░" * 13 in "".join(c for c in shown if c in "█░")
    assert "\x1b[36m" in shown or "\x1b[2;36m" in shown or ";36m" in shown
    narrow = told(events[:1], force_terminal=True, width=40)
    assert "█" * 6 + "░" * 7 in "".join(c for c in narrow if c in "█░")
    assert "nats -41.2" in narrow
    monkeypatch.setenv("NO_COLOR", "1")
    assert "36m" not in told(events, force_terminal=True)


def test_broken_numbers_are_shown_as_they_are():
    assert "nats nan" in told([Event(VAE, "train", 1, 2, 1.0, {"nats": float("nan")})])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
