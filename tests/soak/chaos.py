"""What happens to workers and CLIs: killed, frozen beyond their lease, drained."""

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.soak.fleet import Fleet, Seat
from tests.soak.processes import Identity, alive, cli_of, command, signal_one

RESTART_SECONDS = (0.0, 2.0)
ORPHAN_SECONDS = 2.0
"""What a killed worker leaves must have ended within this."""

SETTLE_SECONDS = 60.0


@dataclass
class _Frozen:
    seat: Seat
    family: list[Identity]
    until: float


@dataclass
class Chaos:
    """Called again and again (`step`), it does something to somebody every `every` seconds or so.

    `done` counts what it did; `harm` is when (epoch seconds) and to which worker's log. `orphans`
    tells of processes that outlived their worker, `crashes` of workers that ended by themselves.
    """

    fleet: Fleet
    dice: random.Random
    every: float
    lease: float
    done: Counter[str] = field(default_factory=Counter)
    harm: list[tuple[float, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    _next: float = 0.0
    _frozen: list[_Frozen] = field(default_factory=list)
    _down: dict[str, float] = field(default_factory=dict)
    _watched: list[tuple[float, list[Identity]]] = field(default_factory=list)

    def step(self, *, calm: bool = False) -> None:
        """Whatever is due; with `calm` nobody is harmed any more."""
        now = time.monotonic()
        self._thaw(now)
        self._restart(now)
        self._look_for_orphans(now)
        if not self._next:
            self._next = now + self._pause()
        if calm or now < self._next:
            return
        self._next = now + self._pause()
        seats = [seat for seat in self.fleet.seats if seat.ready and not self._is_frozen(seat)]
        if seats:
            harm = (self._kill_worker, self._kill_cli, self._freeze, self._drain)
            [chosen] = self.dice.choices(harm, (4, 3, 3, 1))
            chosen(self.dice.choice(seats))

    def settle(self) -> None:
        """Until nobody is frozen, down or watched; bounded, so that a hang is found, not shared."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (self._frozen or self._down or self._watched) and time.monotonic() < deadline:
            self.step(calm=True)
            time.sleep(0.05)

    def thaw_all(self) -> None:
        """At once, so that all can be ended."""
        self._thaw(float("inf"))

    def _pause(self) -> float:
        return self.every * self.dice.uniform(0.5, 1.5)

    def _kill_worker(self, seat: Seat) -> None:
        family = seat.family()
        signal_one(seat.process, signal.SIGKILL)
        self._note("workers killed", seat)
        self._watched.append((time.monotonic() + ORPHAN_SECONDS, family))
        self._down[seat.name] = time.monotonic() + self.dice.uniform(*RESTART_SECONDS)

    def _kill_cli(self, seat: Seat) -> None:
        found = cli_of(seat.process[0])
        if found and signal_one(self.dice.choice(found), signal.SIGKILL):
            self.done["CLIs killed"] += 1

    def _freeze(self, seat: Seat) -> None:
        """As a suspended machine (all of it), or as one whose worker alone gets no time."""
        if self._frozen:
            return  # somebody has to go on
        everything = self.dice.random() < 0.6
        family = seat.family() if everything else [seat.process]
        for process in family:
            signal_one(process, signal.SIGSTOP)
        self._note("workers frozen", seat)
        until = time.monotonic() + self.lease * self.dice.uniform(1.3, 2.2)
        self._frozen.append(_Frozen(seat, family, until))

    def _drain(self, seat: Seat) -> None:
        """As a deployment does."""
        signal_one(seat.process, signal.SIGTERM)
        self._note("workers drained", seat)
        self._down[seat.name] = time.monotonic()

    def _note(self, what: str, seat: Seat) -> None:
        self.done[what] += 1
        self.harm.append((time.time(), seat.log))

    def _is_frozen(self, seat: Seat) -> bool:
        return any(frozen.seat is seat for frozen in self._frozen)

    def _thaw(self, now: float) -> None:
        for frozen in [frozen for frozen in self._frozen if frozen.until <= now]:
            for process in reversed(frozen.family):
                signal_one(process, signal.SIGCONT)
            self._frozen.remove(frozen)

    def _restart(self, now: float) -> None:
        for seat in self.fleet.seats:
            if seat.alive:
                continue
            if seat.name not in self._down:
                self.crashes.append(f"{seat.name} ended by itself, see {seat.service.log}")
                self._down[seat.name] = now
            if now >= self._down[seat.name]:
                del self._down[seat.name]
                seat.start()

    def _look_for_orphans(self, now: float) -> None:
        left = []
        for deadline, family in self._watched:
            still = [process for process in family if alive(process)]
            if still and now < deadline:
                left.append((deadline, family))
                continue
            for process in still:
                self.orphans.append(f"outlived its worker: {command(process)}")
                signal_one(process, signal.SIGKILL)
        self._watched = left
