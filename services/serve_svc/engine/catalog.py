"""The models that a server holds, by the name under which they are asked for."""

import asyncio
from collections.abc import Iterator

from services.common.errors import NotFoundError
from services.common.names import nearest
from services.serve_svc.engine.generation import Generation


class Catalog:
    """Loaded generations. Of a model's generations the one of the highest order takes the traffic.

    Used from the serving loop alone, so that a change is whole between two requests.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[Generation]] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self.expected: dict[str, str] = {}
        """Models that shall be held but are not yet: name to the reason."""
        self._told = False
        self.changed = asyncio.Event()
        """Set with every change; whoever waits for it clears it."""

    def get(self, model: str, version: str = "") -> Generation:
        """Return the generation that takes the traffic, or that of a version (the newest of it).

        Raises:
            NotFoundError: no such model or version is loaded.
        """
        held = self._held.get(model)
        if not held:
            reason = self.expected.get(model)
            if reason is not None:
                raise NotFoundError(f"model {model!r} is not ready: {reason or 'it is being loaded'}")
            raise NotFoundError(f"no model {model!r} is loaded{nearest(model, self._held)}")
        if not version:
            return held[-1]
        for generation in reversed(held):
            if generation.identity.version == version:
                return generation
        raise NotFoundError(f"model {model!r} has no version {version!r}; loaded: {', '.join(self.versions(model))}")

    def versions(self, model: str) -> list[str]:
        """Return the versions held, the one that takes the traffic last."""
        return list(dict.fromkeys(generation.identity.version for generation in self._held.get(model, ())))

    def expect(self, models: dict[str, str]) -> None:
        """Say which models shall be held but are not yet, each with what keeps it away (empty: it is being loaded)."""
        self.expected = models
        self._told = True
        self.changed.set()

    def hold(self, generation: Generation) -> None:
        """Add a generation; it takes the traffic at once unless one of higher order is held."""
        held = self._held.setdefault(generation.identity.model, [])
        held.append(generation)
        held.sort(key=lambda one: one.identity.order)
        self.expected.pop(generation.identity.model, None)
        self.changed.set()

    def release(self, generation: Generation) -> asyncio.Task[None]:
        """Take a generation off the traffic; the task ends once it has answered what it had begun."""
        name = generation.identity.model
        held = [one for one in self._held.get(name, ()) if one is not generation]
        if held:
            self._held[name] = held
        else:
            self._held.pop(name, None)
        task = asyncio.get_running_loop().create_task(generation.drain())
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        return task

    def __iter__(self) -> Iterator[Generation]:
        """Yield the generation of each model that takes its traffic."""
        for held in self._held.values():
            yield held[-1]

    @property
    def ready(self) -> bool:
        """Whether all that shall be held is."""
        return self._told and not self.expected

    async def close(self) -> None:
        """Release everything and wait until it has drained."""
        for held in list(self._held.values()):
            for generation in list(held):
                self.release(generation)
        if self._draining:
            await asyncio.gather(*self._draining)
