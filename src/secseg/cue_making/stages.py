"""Stages that leave their output in one work folder, and run again only where something that they hang on changed."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secseg.cue_making.fingerprints import STARTED, differences, digest, fingerprint
from secseg.utils.errors import UserError
from secseg.utils.files import read_json, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One step of the work.

    Attributes:
        name: of the stage; its record is ``<name>.json``.
        output: what it makes: a file or a folder. Files are made in the folder ``<name>`` unless they lie elsewhere.
        inputs: what that depends on, by name, as values that JSON can hold, from the digests of the stages it needs.
            A mapping from images to values is told by images, other mappings by keys.
        work: makes the output and returns figures to keep. It is handed whether a run was broken off that had the same
            inputs, whose files are still there.
        needs: stages whose outputs it reads.
    """

    name: str
    output: Path
    inputs: Callable[[Mapping[str, str]], dict[str, Any]]
    work: Callable[[bool], dict[str, Any]]
    needs: tuple[str, ...] = ()


@dataclass
class Done:
    """A stage whose output is there: ``record`` as in its file, and whether it ran now."""

    record: dict[str, Any]
    ran: bool


@dataclass
class WorkFolder:
    """The folder where stages keep outputs and records.

    Attributes:
        path: the folder.
        done: the stages that are through, by name.
    """

    path: Path
    done: dict[str, Done] = field(default_factory=dict)

    def run(self, stages: Sequence[Stage], chosen: str = "all") -> None:
        """Run the stages whose output is missing or out of date, in their order, and tell why; skip the others.

        Args:
            stages: each behind those that it needs.
            chosen: ``all``, or the name of one, which alone is run: what it needs has to be there.

        Raises:
            UserError: where what the chosen one needs is not there or out of date, naming the stage to run first; where
                a file of someone else is in the way, before anything is run.
        """
        wanted = _wanted(stages, chosen)
        for stage in wanted:
            self._refuse_strangers(stage)
        for stage in wanted:
            inputs = plain(stage.inputs({need: self.done[need].record["output"] for need in stage.needs}))
            reason = self.reason(stage, inputs)
            if reason is None:
                self.done[stage.name] = Done(self._record(stage.name), ran=False)
                log.info("%s: skipped, nothing that it depends on has changed", stage.name)
            elif chosen not in ("all", stage.name):
                raise UserError(
                    f"stage={chosen} needs what the stage {stage.name} makes, and that would have to run: {reason}. "
                    f"Run stage={stage.name} first, or all with stage=all."
                )
            else:
                self.done[stage.name] = Done(self._run(stage, inputs, reason), ran=True)

    def reason(self, stage: Stage, inputs: Mapping[str, Any]) -> str | None:
        """Return why a stage has to run, None where it has not."""
        record = self._record(stage.name)
        if not record:
            started = _read(self._started(stage))
            if started is None:
                return "it has not been run here"
            return "; ".join(["it was broken off", *differences(started, inputs)])
        there = digest(stage.output)
        if there != record["output"]:
            return f"{stage.output} {'is not there' if there is None else 'is not as it was written'}"
        return "; ".join(differences(record["inputs"], inputs)) or None

    def _run(self, stage: Stage, inputs: dict[str, Any], reason: str) -> dict[str, Any]:
        """Run a stage. Where it fails, what was there before is there again; where it is interrupted, it goes on later
        from what it has made."""
        log.info("%s: runs (%s)", stage.name, reason)
        started = time.perf_counter()
        before = self._record(stage.name)
        folder, aside = self.path / stage.name, self.path / f".{stage.name}.before"
        shutil.rmtree(aside, ignore_errors=True)
        goes_on = not before and _read(self._started(stage)) == inputs
        self._record_file(stage.name).unlink(missing_ok=True)
        if not goes_on:
            if folder.is_dir():
                folder.rename(aside)
            _write(self._started(stage), inputs)
        try:
            figures = stage.work(goes_on)
        except Exception:
            if before and aside.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)
                _write(self._record_file(stage.name), before)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        record = {
            "stage": stage.name,
            "fingerprint": fingerprint(inputs),
            "output": digest(stage.output),
            "figures": figures,
            "seconds": time.perf_counter() - started,
            "inputs": inputs,
        }
        _write(self._record_file(stage.name), record)
        return plain(record)

    def _refuse_strangers(self, stage: Stage) -> None:
        """Refuse to write over what no stage has made, or what was changed since it was."""
        folder = self.path / stage.name
        if folder.exists() and not self._started(stage).is_file():
            raise UserError(
                f"{folder} is in the way: it was not made by the stage {stage.name}. Move it away, or choose another "
                "folder with out=."
            )
        if folder in stage.output.parents or folder == stage.output or not stage.output.exists():
            return
        record = self._record(stage.name)
        unfinished = not record and folder.exists()
        if not unfinished and digest(stage.output) != record.get("output"):
            raise UserError(
                f"{stage.output} was not written by the stage {stage.name}, or was changed since, and would be "
                "overwritten. Move it away, or choose another folder with out=."
            )

    def _record_file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def _started(self, stage: Stage) -> Path:
        return self.path / stage.name / STARTED

    def _record(self, name: str) -> dict[str, Any]:
        record = _read(self._record_file(name))
        keys = ("inputs", "output", "figures", "seconds", "fingerprint")
        return record if isinstance(record, dict) and all(key in record for key in keys) else {}


def _wanted(stages: Sequence[Stage], chosen: str) -> list[Stage]:
    """Return the chosen stage behind all that it needs, directly or not."""
    if chosen == "all":
        return list(stages)
    wanted = {chosen}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value))


def _read(path: Path) -> Any:
    """Return what a file of ours holds; None where it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")
