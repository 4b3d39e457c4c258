import os

from emu.poller import Poller


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_timers_run_in_order_when_due():
    clock, ran = Clock(), []
    poller = Poller(clock)
    poller.after(2, lambda: ran.append("later"))
    poller.after(1, lambda: ran.append("soon"))
    poller.after(1, lambda: ran.append("then"))
    poller.run_due()
    assert (ran, poller.next_due()) == ([], 101.0)
    clock.now = 102.0
    poller.run_due()
    assert (ran, poller.next_due()) == (["soon", "then", "later"], None)


def test_a_cancelled_timer_is_not_waited_for():
    poller = Poller(Clock())
    poller.after(1, lambda: None).cancel()
    assert poller.next_due() is None


def test_a_descriptor_that_is_forgotten_is_not_handled():
    reader, writer = os.pipe()
    poller, seen = Poller(), []
    poller.watch(reader, seen.append)
    os.write(writer, b"x")
    poller.turn(1)
    poller.forget(reader)
    poller.turn(0)
    assert len(seen) == 1
    os.close(reader)
    os.close(writer)
