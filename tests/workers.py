"""Workers that tests turn by hand."""

from bide import App
from bide.core.dispatcher import Dispatcher
from bide.core.replay import Executions
from bide.engine.activities import ActivityRunner
from bide.engine.options import WorkerOptions
from bide.engine.worker import Worker
from bide.model.clock import Clock
from bide.model.links import SignedLinks
from bide.model.metrics import Metrics
from bide.model.sealing import SealingKeys
from bide.store.protocol import Store

SECRET = bytes(32)
SEALER = SealingKeys([SECRET])
LINKS = SignedLinks(SECRET, "http://127.0.0.1:7071")


def new_worker(
    app: App, store: Store, clock: Clock, name: str = "w", options: WorkerOptions | None = None, code: str = ""
) -> Worker:
    """A worker with everything that it needs."""
    metrics = Metrics(clock.now())
    runner = ActivityRunner(app.registry, SECRET, SEALER, clock, metrics)
    executions = Executions(app.registry, LINKS, SEALER)
    return Worker(store, executions, clock, runner, name, SEALER, metrics, options, code)


def new_dispatcher(app: App) -> Dispatcher:
    """What steps the instances of an app."""
    return Dispatcher(Executions(app.registry, LINKS, SEALER), SEALER)
