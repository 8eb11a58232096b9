"""Tags and eras as a model: versions beside one key, what entries are worth under them.

What must stay true, in every history:

- **Freshness.** A caller who came after `delete_tags()`, `clear()` or a `writing()` was
  acknowledged is never given a version older than the one committed before it.
- **Nothing stale is live.** What lies under the key with the versions of now is never older than
  that, either: nobody will be given it later.
- **Progress.** From every state some continuation lets every caller return.

The entry is stored with the era and the tag's version from before its load; invalidations do not
touch the key, but change what it is compared with. So the proof of a fill (the key still carries
the lease) says nothing here, and two more reads do: of the versions behind the sending of the fill,
for those who joined during the load; and, for a tag that only the loader knew, of the epoch, once
the tag's version is known.

How the world is cut into steps. Each command of a batch is a step of its own, in the order of the
batch; between two batches there is no order, for scripts are sent again after NOSCRIPT and a
Cluster has many connections. Only the fill of a process runs before its next claim, which therefore
can use its generation again. What a leader sends with its fill runs in any order. The outside
invalidator commits, changes versions one by one, and is acknowledged with the last; what it sent
may be said again at any later time. Where the epoch is refused it changes the tag all the same, and
owes both, in their order. It may die between them, and owes nothing then: nothing was acknowledged.
The writer through the cache captures, marks, commits, leaves.

What is not here, being in `protocol.py`: deletes of the key, pushes and deadlines (whoever waits
wakes when what he waited for is gone), lost connections, errors, stale values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from .search import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TagBounds", "TagRules", "Tagged"]

GONE: Final = -1  # a version that is not there
Callers: TypeAlias = tuple[int, ...]  # by the version that each must see
Content: TypeAlias = tuple[int, ...]

ABSENT: Final[Content] = ()
MARK: Final[Content] = (-1,)
# A lease is (process,), and a value (version, era, tag's version).


@dataclass(frozen=True, slots=True)
class TagRules:
    """The protocol as shipped; each field, when true, is one tempting mistake.

    Attributes:
        capture_after_load: Read the versions to store under when the loader has returned.
        capture_at_leave: The same, by a writer who writes through: when his block has ended.
        joiners_unchecked: Give a stored value to all who joined, whatever became of its versions.
        replay_same_bytes: Say an invalidation again with the version of the first time.
        no_epoch: Store under a tag that only the loader knew without a look at the epoch.
        epoch_before_tag: Look at the epoch in front of that tag, not behind it.
        epoch_changed_last: Change the tag first and then the epoch.
        epoch_owed_alone: Owe, of an epoch that was refused and a tag that was not, the epoch.
        counted_versions: Begin to count anew where a version is gone, instead of drawing one.
        era_of_before: Compare with the namespace's version as it was last read, by whomever.
    """

    capture_after_load: bool = False
    capture_at_leave: bool = False
    joiners_unchecked: bool = False
    replay_same_bytes: bool = False
    no_epoch: bool = False
    epoch_before_tag: bool = False
    epoch_changed_last: bool = False
    epoch_owed_alone: bool = False
    counted_versions: bool = False
    era_of_before: bool = False


@dataclass(frozen=True, slots=True)
class TagBounds:
    """How much may happen in one history; everything may happen at any moment.

    Attributes:
        readers: Callers at once in each of the two processes.
        starts: Calls of `get_or_set` in all.
        tag_deletes: Commits that are followed by `delete_tags`.
        clears: Commits that are followed by `clear`.
        throughs: Commits inside a `writing()` that ends with a value (at most 1).
        replays: Changes of the tag that are said again.
        losses: Versions that are evicted.
        expiries: Leases of living loaders that run out.
        refusals: Changes of the epoch that Redis refuses.
        deaths: Invalidators who die between epoch and tag.
        named: Whether the calls name the tag; otherwise only the loader knows it.
    """

    readers: tuple[int, int] = (2, 1)
    starts: int = 3
    tag_deletes: int = 1
    clears: int = 0
    throughs: int = 0
    replays: int = 0
    losses: int = 0
    expiries: int = 0
    refusals: int = 0
    deaths: int = 0
    named: bool = True


class World(NamedTuple):
    """What is in Redis and in the database.

    Attributes:
        content: What the key carries.
        era, epoch, tag: The versions; `GONE`: there is none.
        drawn: The newest version that was drawn of each.
        current: The version in the database.
        acked: The newest version whose invalidation was acknowledged.
    """

    content: Content = ABSENT
    era: int = 0
    epoch: int = 0
    tag: int = 0
    drawn: tuple[int, int, int] = (0, 0, 0)
    current: int = 0
    acked: int = 0

    def with_namespace(self) -> World:
        """Make the namespace's version where there is none."""
        if self.era != GONE:
            return self
        era, epoch, tag = self.drawn
        return self._replace(era=era + 1, epoch=epoch + 1, drawn=(era + 1, epoch + 1, tag))

    def with_tag(self, rules: TagRules) -> World:
        """Make the tag's version where there is none."""
        if self.tag != GONE:
            return self
        return self._replace(tag=0) if rules.counted_versions else self.new_tag()

    def new_tag(self) -> World:
        """Change the tag's version."""
        era, epoch, tag = self.drawn
        return self._replace(tag=tag + 1, drawn=(era, epoch, tag + 1))

    def new_epoch(self) -> World:
        """Change the epoch; where there is none the era is new, too."""
        if self.era == GONE:
            return self.with_namespace()
        era, epoch, tag = self.drawn
        return self._replace(epoch=epoch + 1, drawn=(era, epoch + 1, tag))

    def new_era(self) -> World:
        """Change the era; where there is none the epoch is new, too."""
        if self.era == GONE:
            return self.with_namespace()
        era, epoch, tag = self.drawn
        return self._replace(era=era + 1, drawn=(era + 1, epoch, tag))


class Caller(NamedTuple):
    """A call whose own batch is under way.

    Attributes:
        must: The version that it must see.
        asks: What Redis runs of it next; `miss`: it has its replies, and no value.
        era, tag: As it was told; `GONE`: there is none, or it was not told yet.
        found: What the key carried.
    """

    must: int
    asks: str = "era"
    era: int = GONE
    tag: int = GONE
    found: Content = ABSENT


class Flight(NamedTuple):
    """What a process does on behalf of everybody who joined.

    Attributes:
        phase: What comes next.
        early: Callers who take whatever comes.
        late: Callers who came after the cut.
        seen: The dead value that a claim may replace; the value that is being compared.
        era, epoch, tag: As captured.
        version: What the loader read.
    """

    phase: str
    early: Callers = ()
    late: Callers = ()
    seen: Content = ABSENT
    era: int = GONE
    epoch: int = GONE
    tag: int = GONE
    version: int = 0

    def with_all_early(self, phase: str) -> Flight:
        """Cut here."""
        return self._replace(phase=phase, early=_merged(self.early, self.late), late=())


class Landing(NamedTuple):
    """A fill that was sent, and what was sent with it; None: not run yet."""

    early: Callers
    late: Callers
    version: int
    era: int
    tag: int
    stored: bool | None = None
    same_era: bool | None = None
    same_tag: bool | None = None


class Process(NamedTuple):
    """A process; `known` is the era that it was last told."""

    idle: int
    callers: tuple[Caller, ...] = ()
    flight: Flight | None = None
    landing: Landing | None = None
    known: int = 0


class Outside(NamedTuple):
    """Who writes.

    Attributes:
        phase: Of the invalidator: `idle`; `clear`, `tags`: it has committed; `half`: it has changed
            the epoch; `refused`: it could not; `owes`: it has changed the tag, and could not.
        owed: What it has committed.
        sent: The tag's version that it drew first; `GONE`: none.
        writer: Of who writes through: `idle`, `captured`, `marked`, `committed`, `left`.
        era, tag, version: What he has captured and committed.
    """

    phase: str = "idle"
    owed: int = 0
    sent: int = GONE
    writer: str = "idle"
    era: int = GONE
    tag: int = GONE
    version: int = 0


Left: TypeAlias = tuple[int, ...]
_BOUNDS: Final = (
    *("starts", "tag_deletes", "clears", "throughs", "replays", "losses", "expiries"),
    *("refusals", "deaths"),
)
_AT: Final = {name: at for at, name in enumerate(_BOUNDS)}

State: TypeAlias = tuple[World, Process, Process, Outside, Left]
_Moved: TypeAlias = tuple[str, World, Process, str]


class Tagged:
    """The model, for `search.explore`.

    Args:
        rules: The protocol, or a mistaken variant.
        bounds: How much may happen.
    """

    def __init__(self, rules: TagRules, bounds: TagBounds) -> None:
        """Prepare; nothing is computed yet."""
        self._rules = rules
        self._bounds = bounds
        self._known: dict[tuple[int, World, Process], list[_Moved]] = {}

    def start(self) -> State:
        """Return the state before anything happened."""
        first, second = (Process(idle) for idle in self._bounds.readers)
        return World(), first, second, Outside(), tuple(getattr(self._bounds, b) for b in _BOUNDS)

    def settled(self, state: State) -> bool:
        """Tell whether no caller waits."""
        return all(
            not process.callers and process.flight is None and process.landing is None
            for process in (state[1], state[2])
        )

    def steps(self, state: State) -> list[tuple[str, State]]:
        """Return every step out of `state`."""
        world, first, second, outside, left = state
        found: list[tuple[str, State]] = []
        for said, after, moved, spends in self._moves(0, world, first):
            if not spends or left[_AT[spends]]:
                spared = _spent(left, spends)
                found.append((said, (after, moved, second, outside, spared)))
        for said, after, moved, spends in self._moves(1, world, second):
            if not spends or left[_AT[spends]]:
                spared = _spent(left, spends)
                found.append((said, (after, first, moved, outside, spared)))
        for said, after, others, spends in self._outside(world, outside):
            if not spends or left[_AT[spends]]:
                _check_live(said, after)
                found.append((said, (after, first, second, others, _spent(left, spends))))
        return found

    def _moves(self, who: int, world: World, process: Process) -> list[_Moved]:
        """Return what a process, or Redis for it, may do; remembered, for it recurs."""
        key = (who, world, process)
        known = self._known.get(key)
        if known is None:
            known = list[_Moved]()
            try:
                for said, after, moved, spends in self._process(who, world, process):
                    _check_live(said, after)
                    known.append((f"p{who}: {said}", after, moved, spends))
            except Violation as broken:
                broken.step = f"p{who}: {broken.step}"
                raise
            self._known[key] = known
        return known

    # -- who writes ---------------------------------------------------------------------------

    def _outside(self, world: World, outside: Outside) -> Iterator[tuple[str, World, Outside, str]]:
        committed = world._replace(current=world.current + 1)
        owed = committed.current
        acked = max(world.acked, outside.owed)
        done = outside._replace(phase="idle", owed=0)
        if outside.phase == "idle":
            said = f"invalidator: commits version {owed}"
            for kind, spends in (("tags", "tag_deletes"), ("clear", "clears")):
                begun = outside._replace(phase=kind, owed=owed)
                yield f"{said}, will call {kind}", committed, begun, spends
        elif outside.phase == "clear":
            cleared = world.new_era()._replace(acked=acked)
            yield f"invalidator: era {cleared.era}, acknowledged", cleared, done, ""
        else:
            yield from self._delete_tags(world, outside)
        if outside.sent != GONE:
            again = world.new_tag()
            if self._rules.replay_same_bytes:
                again = world._replace(tag=outside.sent)
            yield f"invalidator: says again, tag {again.tag}", again, outside, "replays"
        if world.era != GONE:
            gone = world._replace(era=GONE, epoch=GONE)
            yield "redis: evicts the namespace's version", gone, outside, "losses"
        if world.tag != GONE:
            gone = world._replace(tag=GONE)
            yield "redis: evicts the tag's version", gone, outside, "losses"
        yield from self._writer(world, outside)

    def _delete_tags(
        self, world: World, outside: Outside
    ) -> Iterator[tuple[str, World, Outside, str]]:
        phase, rules = outside.phase, self._rules
        done = outside._replace(phase="idle", owed=0)
        ends = phase in ("half", "owes")
        acknowledged = ", acknowledged" if ends else ""
        if phase == "refused" or phase == ("tags" if rules.epoch_changed_last else "half"):
            changed = world.new_tag()
            after = done if ends else outside._replace(phase="half")
            if phase == "refused":
                after = outside._replace(phase="owes" if rules.epoch_owed_alone else "tags")
            if outside.sent == GONE:
                after = after._replace(sent=changed.tag)
            said = f"invalidator: tag {changed.tag}{acknowledged}"
        else:
            changed = world.new_epoch()
            after = done if ends else outside._replace(phase="half")
            said = f"invalidator: epoch {changed.epoch}{acknowledged}"
            refused = outside._replace(phase="refused") if phase == "tags" else outside
            yield "invalidator: epoch refused", world, refused, "refusals"
        if ends:
            changed = changed._replace(acked=max(world.acked, outside.owed))
            yield "invalidator: dies between the two", world, done, "deaths"
        yield said, changed, after, ""

    def _writer(self, world: World, outside: Outside) -> Iterator[tuple[str, World, Outside, str]]:
        made = world.with_namespace().with_tag(self._rules)
        if outside.writer == "idle":
            after = outside._replace(writer="captured", era=made.era, tag=made.tag)
            yield f"writer: captures tag {made.tag}", made, after, "throughs"
        elif outside.writer == "captured":
            marked = world._replace(content=MARK)
            yield "writer: marks the key", marked, outside._replace(writer="marked"), ""
        elif outside.writer == "marked":
            committed = world._replace(current=world.current + 1)
            after = outside._replace(writer="committed", version=committed.current)
            yield f"writer: commits version {committed.current}", committed, after, ""
        elif outside.writer == "committed":
            era, tag, after = outside.era, outside.tag, world
            if self._rules.capture_at_leave:
                era, tag, after = made.era, made.tag, made
            content = (outside.version, era, tag) if world.content == MARK else ABSENT
            after = after._replace(content=content, acked=max(world.acked, outside.version))
            said = f"writer: leaves version {outside.version} of tag {tag}"
            yield said, after, Outside(outside.phase, outside.owed, outside.sent, "left"), ""

    # -- a process ----------------------------------------------------------------------------

    def _process(self, who: int, world: World, process: Process) -> Iterator[_Moved]:
        if process.idle:
            began = Caller(world.acked)
            if self._rules.era_of_before and process.known != GONE:
                began = began._replace(era=process.known, asks=self._after_era())
            started = process._replace(
                idle=process.idle - 1, callers=_sorted(*process.callers, began)
            )
            yield f"a caller starts (must see {world.acked})", world, started, "starts"
        for at, caller in enumerate(process.callers):
            if at and caller == process.callers[at - 1]:
                continue
            rest = process._replace(callers=process.callers[:at] + process.callers[at + 1 :])
            yield self._ask(world, rest, caller)
        if process.flight is not None:
            if process.flight.phase == "claim" and process.landing is not None:
                if process.landing.stored is not None:
                    yield from self._fly(who, world, process, process.flight)
            else:
                yield from self._fly(who, world, process, process.flight)
            if world.content == (who,) and process.flight.phase in _LEASED:
                yield "its lease expires", world._replace(content=ABSENT), process, "expiries"
        if process.landing is not None:
            yield from self._land(who, world, process, process.landing)

    def _after_era(self) -> str:
        return "tag" if self._bounds.named else "key"

    def _ask(self, world: World, process: Process, caller: Caller) -> _Moved:
        """Run the next command of a caller's batch; or let it join, with all its replies."""
        asks, must = caller.asks, caller.must
        if asks == "miss":
            return self._join(world, process, caller)
        if asks == "era":
            caller = caller._replace(era=world.era, asks=self._after_era())
            process = process._replace(known=world.era)
            said = f"GET finds era {world.era}"
        elif asks == "tag":
            caller = caller._replace(tag=world.tag, asks="key")
            said = f"GET finds tag {world.tag}"
        elif asks == "key":
            said = f"GET finds {_show(world.content)}"
            found = world.content if len(world.content) == 3 else ABSENT
            caller = caller._replace(found=found, asks="miss")
            if found and found[1] == caller.era:
                caller = caller._replace(asks="compare")
        else:
            caller = caller._replace(tag=world.tag)
            said = f"GET finds tag {world.tag}, for what it has found"
        if caller.asks == "compare" and (asks == "compare" or self._bounds.named):
            if caller.found[2] == caller.tag:
                said += f"; returns version {caller.found[0]}"
                return said, world, _answered(process, (must,), caller.found[0], said), ""
            caller = caller._replace(asks="miss")
        if caller.asks == "miss":
            caller = Caller(must, "miss", found=caller.found)
        return said, world, process._replace(callers=_sorted(*process.callers, caller)), ""

    def _join(self, world: World, process: Process, caller: Caller) -> _Moved:
        flight, one = process.flight, (caller.must,)
        if flight is None:
            begun = Flight("era", early=one, seen=caller.found)
            return "begins to claim", world, process._replace(flight=begun), ""
        if flight.phase in ("wait", "keep"):
            flight = flight._replace(early=_merged(flight.early, one))
        else:
            flight = flight._replace(late=_merged(flight.late, one))
        return f"joins ({flight.phase})", world, process._replace(flight=flight), ""

    # -- the flight ---------------------------------------------------------------------------

    def _fly(self, who: int, world: World, process: Process, flight: Flight) -> Iterator[_Moved]:
        phase, named = flight.phase, self._bounds.named
        late_capture = self._rules.capture_after_load
        if phase == "era":
            told = flight._replace(phase="tag" if named else "claim", era=world.era)
            told = told._replace(epoch=world.epoch)
            moved = process._replace(flight=told, known=world.era)
            yield f"captures era {world.era}, epoch {world.epoch}", world, moved, ""
        elif phase == "tag":
            made = world.with_tag(self._rules)
            told = flight._replace(phase="claim", tag=made.tag)
            yield f"captures tag {made.tag}", made, process._replace(flight=told), ""
        elif phase == "claim":
            yield self._claim(who, world, process, flight)
        elif phase == "keep":
            made = world.with_namespace()
            told = flight._replace(phase="load", era=made.era, epoch=made.epoch)
            yield f"makes era {made.era}", made, process._replace(flight=told), ""
        elif phase in ("load", "bare"):
            following = "bare loaded" if phase == "bare" else "loaded" if named else "learn"
            if phase == "load" and not named and self._rules.epoch_before_tag:
                following = "check"
            read = flight._replace(phase=following, version=world.current)
            yield f"the loader reads {world.current}", world, process._replace(flight=read), ""
        elif phase == "learn":
            made = world.with_tag(self._rules)
            following = "check"
            if self._rules.epoch_before_tag or self._rules.no_epoch:
                following = "loaded"
            told = flight._replace(phase=following, tag=made.tag)
            yield f"learns tag {made.tag}", made, process._replace(flight=told), ""
        elif phase == "check":
            made = world.with_namespace()
            if (made.era, made.epoch) != (flight.era, flight.epoch):
                said = "finds the epoch changed; stores nothing"
                if made.content == (who,):
                    made = made._replace(content=ABSENT)
                yield said, made, self._landed(process, flight, said), ""
            else:
                following = "learn" if self._rules.epoch_before_tag else "loaded"
                told = flight._replace(phase=following)
                said = f"finds epoch {made.epoch} unchanged"
                yield said, made, process._replace(flight=told), ""
        elif phase == "loaded" and process.landing is None:
            if late_capture:
                world = world.with_namespace().with_tag(self._rules)
                flight = flight._replace(era=world.era, tag=world.tag)
            fill = Landing(flight.early, flight.late, flight.version, flight.era, flight.tag)
            said = f"sends the fill of version {flight.version} of tag {flight.tag}"
            yield said, world, process._replace(flight=None, landing=fill), ""
        elif phase == "bare loaded":
            said = f"the unleased load returns version {flight.version}"
            yield said, world, self._landed(process, flight, said), ""
        else:
            yield from self._follow(who, world, process, flight)

    def _claim(self, who: int, world: World, process: Process, flight: Flight) -> _Moved:
        content = world.content
        if content in (ABSENT, flight.seen):
            begun = flight.with_all_early("keep" if flight.era == GONE else "load")
            moved = process._replace(flight=begun._replace(seen=ABSENT))
            return "claim is granted", world._replace(content=(who,)), moved, ""
        return self._look("claim", world, process, flight)

    def _look(self, verb: str, world: World, process: Process, flight: Flight) -> _Moved:
        """Take what a claim, or the read of one who waits, has found."""
        content = world.content
        said = f"{verb} finds {_show(content)}"
        if content == MARK:
            flight = flight.with_all_early("bare")
        elif content == ABSENT:
            flight = flight.with_all_early("era")._replace(seen=ABSENT)
        elif len(content) == 1:
            flight = flight.with_all_early("wait")._replace(seen=content)
        elif content[1] == flight.era:
            flight = flight._replace(phase="compare", seen=content)
        else:
            flight = flight.with_all_early("era")._replace(seen=content)
        flight = flight._replace(tag=GONE, epoch=GONE)
        if flight.phase != "compare":
            flight = flight._replace(era=GONE)
        return said, world, process._replace(flight=flight), ""

    def _follow(self, who: int, world: World, process: Process, flight: Flight) -> Iterator[_Moved]:
        phase = flight.phase
        if phase == "compare":
            said = f"GET finds tag {world.tag}, for what the flight has found"
            if flight.seen[2] == world.tag:
                landing = flight._replace(version=flight.seen[0])
                yield said, world, self._landed(process, landing, said), ""
            else:
                dead = flight.with_all_early("era")._replace(era=GONE)
                yield f"{said}: dead", world, process._replace(flight=dead), ""
        elif phase == "wait" and world.content != flight.seen:
            told = flight._replace(phase="read era", seen=ABSENT)
            yield "wakes", world, process._replace(flight=told), ""
        elif phase == "read era":
            told = flight._replace(phase="read key", era=world.era)
            moved = process._replace(flight=told, known=world.era)
            yield f"reads era {world.era}", world, moved, ""
        elif phase == "read key":
            if world.content == (who,):
                return  # its own fill is still on its way
            yield self._look("read", world, process, flight)

    def _landed(self, process: Process, flight: Flight | Landing, said: str) -> Process:
        """Give the version to those before the cut; the late start over."""
        process = _answered(process, flight.early, flight.version, said)
        again = [Caller(must) for must in flight.late]
        process = process._replace(callers=_sorted(*process.callers, *again))
        if isinstance(flight, Landing):
            return process._replace(landing=None)
        return process._replace(flight=None)

    def _land(self, who: int, world: World, process: Process, fill: Landing) -> Iterator[_Moved]:
        """Run what was sent with a fill, in any order; then look at the replies."""
        if fill.stored is None:
            stored = world.content == (who,)
            told = process._replace(landing=fill._replace(stored=stored))
            after = world
            if stored:
                after = world._replace(content=(fill.version, fill.era, fill.tag))
            verb = "stores" if stored else "refuses"
            yield f"fill {verb} version {fill.version} of tag {fill.tag}", after, told, ""
        if not self._rules.joiners_unchecked:
            if fill.same_era is None:
                made = world.with_namespace()
                told = fill._replace(same_era=made.era == fill.era)
                yield "reads the era again", made, process._replace(landing=told), ""
            if fill.same_tag is None:
                made = world.with_tag(self._rules)
                told = fill._replace(same_tag=made.tag == fill.tag)
                yield "reads the tag again", made, process._replace(landing=told), ""
            if None in (fill.same_era, fill.same_tag):
                return
        if fill.stored is not None:
            whole = fill.stored and False not in (fill.same_era, fill.same_tag)
            if whole:
                fill = fill._replace(early=_merged(fill.early, fill.late), late=())
            said = f"looks at the fill's reply: {'stored' if whole else 'not for the late'}"
            yield said, world, self._landed(process, fill, said), ""


_LEASED: Final = frozenset({"keep", "load", "learn", "check", "loaded"})


def _merged(some: Callers, others: Callers) -> Callers:
    return tuple(sorted(some + others))


def _sorted(*callers: Caller) -> tuple[Caller, ...]:
    return tuple(sorted(callers))


def _spent(left: Left, name: str) -> Left:
    if not name:
        return left
    at = _AT[name]
    return (*left[:at], left[at] - 1, *left[at + 1 :])


def _show(content: Content) -> str:
    if content in (ABSENT, MARK):
        return "a mark" if content else "nothing"
    if len(content) == 1:
        return f"the lease of p{content[0]}"
    return f"version {content[0]} of era {content[1]}, tag {content[2]}"


def _answered(process: Process, callers: Callers, version: int, said: str) -> Process:
    """Return a version to callers, who are idle then."""
    for must in callers:
        if version < must:
            what = f"a caller who must see version {must} is given version {version}"
            raise Violation("freshness", what, step=said)
    return process._replace(idle=process.idle + len(callers))


def _check_live(said: str, world: World) -> None:
    """Refuse a stored value that counts, and is older than what was acknowledged."""
    content = world.content
    if len(content) == 3 and content[0] < world.acked and content[1:] == (world.era, world.tag):
        what = f"{_show(content)} counts after version {world.acked} was acknowledged"
        raise Violation("nothing stale is live", what, step=said)
