"""What the agent counts, as Prometheus reads it."""

from __future__ import annotations

from ipaddress import ip_address

from isthmus.agent import metrics
from isthmus.agent.probe import Probe, Prober, Target


def prober() -> Prober:
    made = Prober()
    target = Target('odd "name"', ip_address("10.2.0.1"))
    made.configure({"p1": Probe("p1", "g", (target,))}, 0.0)
    [request] = made.due(0.0)
    made.answered("p1", target.address, request.sequence, request.cookie, 0.25)
    return made


def test_steps_of_an_add_where_pods_are_served() -> None:
    text = metrics.page(Prober(), {"link": (2, 0.5)}).body.decode()
    assert 'isthmus_cni_add_seconds_count{step="link"} 2.0' in text
    assert 'isthmus_cni_add_seconds_sum{step="link"} 0.5' in text
    assert "isthmus_cni" not in metrics.page(Prober()).body.decode()


def test_counts_round_trips_and_state_are_in_the_text() -> None:
    text = metrics.page(prober()).body.decode()
    labels = '{address="10.2.0.1",probe="p1",subnet="odd \\"name\\""}'
    assert 'isthmus_probe_up{probe="p1"} 1.0' in text
    assert f"isthmus_probe_sent_total{labels} 1.0" in text
    assert f"isthmus_probe_lost_total{labels} 0.0" in text
    assert f"isthmus_probe_rtt_seconds_count{labels} 1.0" in text
    assert f"isthmus_probe_rtt_seconds_sum{labels} 0.25" in text
    assert f"isthmus_probe_rtt_last_seconds{labels} 0.25" in text
