"""A world for the loop: sites, registry, server and time in memory, which fail when told to.

Every effect and every write of the store is a *point* before and after which its process can die. A
run that was answered is answered the same again, as the federation does it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf

from fedrisk.errors import FencedError, RegistryError, RetrainingError
from fedrisk.models.comparison import Comparison, Difference, Estimate, ModelFigures
from fedrisk.monitoring.verdict import Harm, Verdict
from fedrisk.registry.trial_control import NO_TRIAL
from fedrisk.retraining.decision import DecisionRules
from fedrisk.retraining.hold_gate import Held
from fedrisk.retraining.loop import Approval
from fedrisk.retraining.loop_store import LoopStore
from fedrisk.retraining.machine import Machine
from fedrisk.retraining.plan import ChangePlan, TrialRules, WatchRules
from fedrisk.retraining.ports import (
    Assessment,
    Service,
    Standing,
    StoredVersion,
    World,
)
from fedrisk.retraining.running import begin
from fedrisk.serving.trial_report import Answered, Compared, Shadowed, Timing, TrialReport
from fedrisk.study import find_study
from fedrisk.study.questions import ComparisonResult
from fedrisk.study.training import TrainingResult

START = datetime(2026, 3, 2, tzinfo=UTC)
STUDY = find_study("air-wearables").model_copy(update={"treated": "acted_on_score"})
SCOPE = "air"
FITTED = START - timedelta(days=200)
PLAN = ChangePlan(
    approval="plan",
    shadow=TrialRules(seconds=10, least=100, most_seconds=60),
    canary=TrialRules(seconds=10, least=50, most_seconds=60),
    watch=WatchRules(days=21, compare_days=7, poll_seconds=7 * 86_400),
    decision=DecisionRules(cooldown_days=60),
    poll_seconds=5,
    patience_seconds=20,
)


class Killed(BaseException):
    """The process dies: nothing catches it."""


@dataclass
class Points:
    """Counts the points, and dies at one of them."""

    fatal: int | None = None
    passed: list[str] = field(default_factory=list)
    look: object = None

    def __call__(self, name):
        self.passed.append(name)
        if self.look is not None:
            self.look()
        if self.fatal is not None and len(self.passed) == self.fatal + 1:
            raise Killed(name)


class FakeClock:
    def __init__(self):
        self.time = START

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += timedelta(seconds=seconds)


class FakeRegistry:
    """Aliases as MLflow has them: each moves by itself, without compare-and-set."""

    def __init__(self, point):
        self.point = point
        self.aliases = {"champion": "1"}
        self.past = ["1"]
        self.tags = {}
        self.floor = 0
        self.away = 0
        self.moves = []

    @property
    def control(self):
        """How the challenger is tried, if there is one."""
        return self.tags.get(self.aliases.get("challenger"), NO_TRIAL)

    def _reach(self):
        if self.away:
            self.away -= 1
            raise RegistryError("the registry is away")

    def _move(self, name, fence):
        self._reach()
        if fence < self.floor:
            raise FencedError(f"{fence} is behind {self.floor}")
        self.moves.append(name)
        self.point(f"before {name}")

    def guard(self, fence):
        self._reach()
        self.floor = max(self.floor, fence)

    def standing(self):
        self._reach()
        found = self.aliases
        return Standing(found["champion"], found.get("challenger"), tuple(self.past))

    def stored(self, version):
        self._reach()
        return StoredVersion(
            SCOPE, version, f"run-{version}", STUDY, {"version": version}, {}, FITTED
        )

    def challenge(self, version, control, reason, fence):
        self._move("challenge", fence)
        assert version != self.aliases["champion"]
        self.aliases["challenger"] = version
        self.point("alias of the challenger")
        self.tags[version] = control
        self.point("after challenge")

    def withdraw(self, version, reason, fence):
        self._move("withdraw", fence)
        if self.aliases.get("challenger") == version:
            del self.aliases["challenger"]
        self.point("after withdraw")

    def promote(self, version, instead_of, reason, fence):
        self._move("promote", fence)
        if self.aliases["champion"] == version:
            self.aliases.pop("challenger", None)
            return
        if self.aliases["champion"] != instead_of:
            raise RetrainingError("the champion was moved")
        self.aliases["champion"] = version
        self.past.append(version)
        self.point("alias of the champion")
        self.aliases.pop("challenger", None)
        self.point("after promote")

    def give_back(self, version, instead_of, reason, fence):
        self._move("give back", fence)
        if self.aliases["champion"] == version:
            return
        if self.aliases["champion"] != instead_of:
            raise RetrainingError("the champion was moved")
        self.aliases["champion"] = version
        self.past = self.past[: self.past.index(version) + 1]
        self.point("after give back")


@dataclass
class FakeFitted:
    version: str
    result: TrainingResult


class FakeSites:
    """Answers by run, once and for all."""

    sites = ("north", "south")

    def __init__(self, point):
        self.point = point
        self.trained = {}
        self.compared = {}
        self.faults = []
        #: By how the run's id ends: log loss of the second model less that of the first.
        self.losses = {}
        self.ratio = 1.0

    def train(self, request):
        self.point(f"before fit of {request.run_id}")
        if self.faults:
            raise self.faults.pop(0)
        if request.run_id not in self.trained:
            version = str(2 + len(self.trained))
            result = TrainingResult(
                request=request,
                model={"version": version},
                reference={},
                checks=[],
                rounds=(),
                seconds=1.0,
                rows={"north": {"train": 100, "test": 20}},
                metrics={"auroc": 0.8},
                per_site={},
            )
            self.trained[request.run_id] = FakeFitted(version, result)
        self.point("after fit")
        return self.trained[request.run_id]

    def compare(self, request):
        self.point("before comparison")
        if self.faults:
            raise self.faults.pop(0)
        known = self.compared.setdefault(request.run_id, request)
        assert known == request, "the same run is asked for something else"
        ending = request.run_id[23:]  # after the retraining's id
        loss = next((v for k, v in self.losses.items() if ending.startswith(k)), 0.0)
        document = comparison(request.models, loss, self.ratio).document()
        return ComparisonResult(request=request, comparison=document, seconds=1.0)


def comparison(models, loss=0.0, ratio=1.0, events=400.0):
    """Figures of models; the second one's log loss differs by so much, with an error of .001."""
    figures = ModelFigures(*(Estimate(x, 0.01) for x in (0.8, 0.1, 0.3, ratio, 0.0, 1.0)))
    zero = Estimate(0.0, 0.001)
    names = list(models)
    return Comparison(
        study=STUDY.hash,
        rows=4000.0,
        events=events,
        people=500.0,
        days=30.0,
        effective_rows=4000.0,
        effective_events=events,
        treated=0.0,
        treated_events=0.0,
        treated_expected=0.0,
        untreated=False,
        bands={},
        models=dict.fromkeys(names, figures),
        differences={n: Difference(zero, zero, Estimate(loss, 0.001), {}) for n in names[1:]},
        log_loss_covariance={},
        groups={},
        net_benefit={},
        churn=dict.fromkeys(
            names[1:], ((3000.0, 10.0, 0.0), (10.0, 800.0, 5.0), (0.0, 5.0, 170.0))
        ),
    )


class FakeServer:
    """Serves what the aliases say; counts requests as time goes by."""

    def __init__(self, world):
        self.world = world
        self.refuses = set()
        self.failing = set()
        self.slow = set()
        self.shadow_errors = 0
        self.difference = 0.01
        self.away = []
        self.tries = True

    def _requests(self):
        return (self.world.clock.now() - START).total_seconds() * 20

    def look(self):
        if self.away:
            raise self.away.pop(0)
        registry = self.world.registry
        version = registry.aliases["champion"]
        refused = "its self-test fails" if version in self.refuses else ""
        bad = version in self.failing
        late = version in self.slow
        n = self._requests()
        return Service(
            version=None if refused else version,
            refused=refused,
            requests=n,
            errors=n if bad else 0.0,
            latency={0.1: 0.0 if late else n, 2.0: n, inf: n},
        )

    def trial(self):
        if self.away:
            raise self.away.pop(0)
        registry = self.world.registry
        challenger = registry.aliases.get("challenger")
        if challenger is None or not self.tries:
            return None
        n = int(self._requests())
        timing = Timing(0.001, 0.001, 0.001, 0.002)
        late = Timing(0.1, 0.1, 0.1, 0.2) if challenger in self.slow else timing
        errors = n if challenger in self.failing else 0
        shadow, share = registry.control.shadow, registry.control.share
        return TrialReport(
            name=SCOPE,
            since=START,
            share=share,
            shadow=shadow,
            champion=Answered(registry.aliases["champion"], n, n, 0, timing),
            challenger=Answered(challenger, n if share else 0, n, errors if share else 0, late),
            shadowed=Shadowed(n if shadow else 0, self.shadow_errors, 0, timing),
            compared=Compared(n, self.difference, {}, ()),
        )


class FakeWatch:
    def __init__(self):
        self.status, self.diagnosis, self.harm = "harm", "concept", Harm("measured")
        self.rows, self.events = 5000.0, 500.0
        self.sound_since = None
        self.kept = 0

    def assess(self, champion, now):
        verdict = Verdict(
            self.status,
            "high",
            self.diagnosis,
            now,
            STUDY.hash,
            {},
            {},
            self.harm,
            ("changed",),
            sound_since=self.sound_since,
        )
        return Assessment(verdict, self.rows, self.events, self._keep)

    def _keep(self):
        self.kept += 1


class FakeGate:
    def __init__(self):
        self.verdict, self.wants_untreated = "pass", False
        self.seen = []

    def __call__(self, comparison, study, plan, spent, now):
        self.seen.append(spent)
        chosen = comparison.challengers[0] if self.verdict == "pass" else None
        said = f"the gate says {self.verdict}"
        return Held(self.verdict, chosen, said, 0.01, self.wants_untreated and not self.seen[1:])


class Scenery:
    """A world, a store, and whoever runs the machine in them."""

    def __init__(self, plan=PLAN, fatal=None, server=True):
        self.point = Points(fatal)
        self.plan = plan
        self.clock = FakeClock()
        self.registry = FakeRegistry(self.point)
        self.sites = FakeSites(self.point)
        self.watch = FakeWatch()
        self.gate = FakeGate()
        self.server = FakeServer(self) if server else None
        self.store = KillingStore("sqlite://", self.point)
        self.world = World(self.sites, self.registry, self.watch, self.server, self.clock)
        self.signed = True
        self.as_of = None
        self.said = []

    def take(self, holder="here:1"):
        """A lease, as of a process whose forerunner is known to be dead."""
        return self.store.take(SCOPE, holder, self.clock.now(), 60.0, forfeit="here:")

    def machine(self, lease):
        return Machine(
            self.store,
            self.world,
            lease,
            lambda _: self.signed,
            self.as_of,
            self.said.append,
            self.gate,
        )

    def run(self, trigger="drift", patience=1e9):
        """As the command does: go on with what is open, or begin."""
        lease = self.take()
        loop = begin(self.store, lease, trigger, self.plan, self.clock.now())
        try:
            return self.machine(lease).run(loop, patience)
        finally:
            self.store.let_go(lease)

    def approve(self, loop, approved=True):
        return self.store.answer(loop.id, Approval(approved, "Dr Z", self.clock.now(), "seen"))


class KillingStore(LoopStore):
    def __init__(self, url, point):
        super().__init__(url)
        self.point = point

    def begin(self, loop, lease):
        self.point("before begin")
        super().begin(loop, lease)
        self.point("after begin")

    def advance(self, loop, lease, step, spent=None):
        self.point(f"before {step.state} is written")
        after = super().advance(loop, lease, step, spent)
        self.point(f"after {step.state} was written")
        return after
